"""What the binary does: train, evaluate, sample. Each works on one run directory."""

import pathlib

import jax
from ml_collections import ConfigDict

from insertion_jax import build, evaluation, runs, sampling
from insertion_jax.training import checkpoint, loop
from insertion_jax.types import InputError

MODES = ("train", "evaluate", "sample")


def train(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Trains a run to its end, from its newest checkpoint if it has one.

    Raises:
      InputError: the config or the directory does not allow it.
    """
    task = build.task(config)
    method = build.method(config, task)
    loop_config = build.loop_config(config)
    optimizer_config = build.optimizer_config(config)
    place = build.place(config)
    validate = evaluation.make_evaluation(
        task,
        method,
        "validation",
        num_examples=config.evaluate.num_validation,
        num_bounds=config.evaluate.num_validation_bounds,
        batch_size=config.evaluate.batch_size,
        options=_options(config, {}),
    )
    place.check_batch_size(loop_config.batch_size)
    runs.claim(workdir, config)

    def values_of(params, _):
        # One device is enough, and leaves no collective to wait for.
        params = jax.device_get(params)
        return {name: e.value for name, e in validate(params).items()}

    loop.train(
        method,
        optimizer_config,
        loop_config,
        place,
        task.load("train"),
        workdir,
        meta={"config": config.to_dict(), "commit": runs.provenance()["commit"]},
        evaluate=values_of,
    )


def evaluate(workdir: pathlib.Path, split: str, options: dict, seed: int) -> None:
    """Measures a run on a split; prints a table and adds to `results.json`.

    Raises:
      InputError: the directory is not that of a run, or an option is out of range.
    """
    config = runs.load_config(workdir)
    task = build.task(config)
    chosen = _options(config, options)
    measure = evaluation.make_evaluation(
        task,
        build.method(config, task),
        split,
        num_examples=config.evaluate.num_examples,
        num_bounds=config.evaluate.num_bounds,
        batch_size=config.evaluate.batch_size,
        options=chosen,
        seed=seed,
    )
    params, meta = checkpoint.read_params(workdir)
    estimates = measure(params, progress=True)
    print(f"{task.name}, {split} split, step {meta['step']}, {_described(chosen)}")
    print(evaluation.table(estimates))
    path = workdir / "results.json"
    results = runs.read_json(path) if path.exists() else {}
    name = f"{split}, {_described(chosen)}"
    results[name] = {
        "step": meta["step"],
        "seed": seed,
        "metrics": {name: e._asdict() for name, e in estimates.items()},
        "made_by": runs.provenance(),
    }
    runs.write_json(path, results)
    print(f"Written to {path}")


def sample(
    workdir: pathlib.Path,
    split: str,
    options: dict,
    seed: int,
    *,
    num_samples: int,
    prompt: str | None,
) -> None:
    """Draws sequences for a split's examples or for a prompt; writes `samples/`.

    Raises:
      InputError: the directory is not that of a run, an option is out of range, or
        the prompt cannot be read.
    """
    config = runs.load_config(workdir)
    task = build.task(config)
    method = build.method(config, task)
    if prompt is None:
        examples = task.load(split)
        if num_samples > len(examples.length):
            raise InputError(
                f"--num_samples is {num_samples}, but the {split} split has "
                f"{len(examples.length)} examples."
            )
        examples = jax.tree.map(lambda x: x[:num_samples], examples)
    else:
        row = task.parse_prompt(prompt)
        examples = jax.tree.map(lambda x: x.repeat(num_samples, axis=0), row)
    chosen = _options(config, options)
    batch_size = min(config.evaluate.batch_size, num_samples)
    params, meta = checkpoint.read_params(workdir)
    samples = sampling.make_sampler(method, chosen, batch_size)(
        params, examples, jax.random.key(seed), progress=True
    )
    paths = sampling.write(
        workdir / "samples",
        task,
        examples,
        samples,
        {
            "step": meta["step"],
            "seed": seed,
            "prompt": prompt,
            "split": None if prompt else split,
            "options": chosen._asdict(),
            "made_by": runs.provenance(),
        },
        num_pictures=config.sample.num_pictures,
    )
    for row in range(min(num_samples, 5)):
        print(task.format(samples.tokens[row], int(samples.length[row])))
    if num_samples > 5:
        print(f"... and {num_samples - 5} more")
    print("Written to:")
    for path in paths:
        print(f"  {path}")


def _options(config, changes):
    """The config's sampling options with some of them replaced.

    Raises:
      InputError: a value out of range.
    """
    fields = sampling.SamplingOptions._fields
    values = {name: config.sample[name] for name in fields} | changes
    if not values["temperature"] > 0:
        raise InputError(
            f"temperature is {values['temperature']}; it must be positive (for the "
            "most probable outcomes use greedy)."
        )
    if not 0 < values["top_p"] <= 1:
        raise InputError(f"top_p is {values['top_p']}; it must lie in (0, 1].")
    return sampling.SamplingOptions(**values)


def _described(options):
    if options.greedy:
        return "greedy"
    return f"temperature {options.temperature:g}, top_p {options.top_p:g}"
