"""What the binary does: train, evaluate, sample, look at orders, in a run directory."""

import math
import pathlib

import jax
import numpy as np
from ml_collections import ConfigDict

from insertion_jax import build, evaluation, order_analysis, released, runs, sampling
from insertion_jax.tasks import examples
from insertion_jax.training import checkpoint, data, loop, placement, state
from insertion_jax.types import InputError

MODES = ("train", "evaluate", "sample", "orders", "prepare", "export")

# The least value of every field of the config's section `evaluate`.
_LEAST = {
    "num_examples": 1,
    "num_bounds": 0,
    "num_validation": 1,
    "num_validation_bounds": 0,
    "batch_size": 1,
}


def train(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Trains a run to its end, from its newest checkpoint if it has one.

    Raises:
      InputError: the config or the directory does not allow it; then nothing was
        written.
    """
    task = build.task(config)
    config = _settled(config, task)
    method = build.method(config, task)
    loop_config = build.loop_config(config)
    optimizer_config = build.optimizer_config(config)
    place = build.place(config)
    place.check_batch_size(loop_config.batch_size)
    sizes = _evaluation_sizes(config)
    validate = evaluation.make_evaluation(
        task,
        method,
        "validation",
        num_examples=sizes["num_validation"],
        num_bounds=sizes["num_validation_bounds"],
        batch_size=sizes["batch_size"],
        options=_options(config, {}),
    )
    train_examples = task.load("train")
    data.check_size(len(train_examples.length), loop_config.batch_size)
    examples.check(
        train_examples,
        len(task.vocabulary),
        ends_with_eos=config.method.get("termination") == "eos",
        min_insertions=config.method.get("min_insertions", 0),
    )
    _check_init(method, optimizer_config, train_examples)
    runs.claim(workdir, config)

    def values_of(params, _):
        # One device is enough, and leaves no collective to wait for.
        params = jax.device_put(placement.to_host(params), jax.local_devices()[0])
        return {name: e.value for name, e in validate(params).items()}

    loop.train(
        method,
        optimizer_config,
        loop_config,
        place,
        train_examples,
        workdir,
        meta={"config": config.to_dict(), "commit": runs.provenance()["commit"]},
        evaluate=values_of,
    )
    if jax.process_index() == 0:
        print(
            f"Trained: --workdir={workdir} with --mode=evaluate measures the run, with "
            "--mode=sample draws from it."
        )


def evaluate(
    workdir: pathlib.Path,
    split: str,
    options: dict,
    seed: int,
    *,
    num_samples: int | None = None,
    samples_per_problem: int | None = None,
) -> None:
    """Measures a run on a split; prints a table and adds to `results.json`.

    Args:
      workdir: of the run.
      split: of the task.
      options: of sampling, in place of the config's.
      seed: of all randomness.
      num_samples: sequences to draw, each for another example; None for as many as the
        config says.
      samples_per_problem: how many of them in a row are of one problem of the test
        split, for tasks with many answers; None for as many as the config says.

    Raises:
      InputError: the directory is not that of a run, an option is out of range or does
        not go with task or split, or the split has too few examples.
    """
    config = runs.load_config(workdir)
    sizes = _evaluation_sizes(config)
    num_examples = num_samples or sizes["num_examples"]
    if samples_per_problem is not None:
        build.ask_each(config, samples_per_problem, split)
        if num_examples % samples_per_problem:
            raise InputError(
                f"{num_examples} samples are no multiple of --samples_per_problem="
                f"{samples_per_problem}; choose another --num_samples."
            )
    task = build.task(config)
    chosen = _options(config, options)
    if num_samples is not None and task.blank is None:
        _first(task, split, num_samples)  # refuses what the split has not
    measure = evaluation.make_evaluation(
        task,
        build.method(config, task),
        split,
        num_examples=num_examples,
        num_bounds=sizes["num_bounds"],
        batch_size=sizes["batch_size"],
        options=chosen,
        seed=seed,
        compares=True,
    )
    params, meta = checkpoint.read_params(workdir)
    estimates = measure(params, progress=True)
    print(f"{task.name}, {split} split, step {meta['step']}, {_described(chosen)}")
    print(evaluation.table(estimates))
    path = workdir / "results.json"
    results = runs.read_json(path) if path.exists() else {}
    name = f"{split}, {_described(chosen)}"
    if num_samples is not None:
        name += f", {num_samples} samples"
    if samples_per_problem is not None:
        name += f", {samples_per_problem} a problem"
    results[name] = {
        "step": meta["step"],
        "seed": seed,
        "metrics": {name: evaluation.as_json(e) for name, e in estimates.items()},
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
    num_samples: int | None,
    prompt: str | None,
    with_bounds: bool = False,
) -> None:
    """Draws sequences for a split's examples or for a prompt; writes `samples/`.

    Samples made with other options stay: these then go to `samples-2/` and so on.

    Args:
      workdir: of the run.
      split: whose first examples to answer where there is no prompt.
      options: of sampling, in place of the config's.
      seed: of the samples.
      num_samples: how many; None for 16, or for 1 where a prompt is answered greedily.
      prompt: a problem as text, to be answered `num_samples` times; None where
        problems give nothing needs no split.
      with_bounds: also write bounds of each sample's log-probability.

    Raises:
      InputError: the directory is not that of a run, an option is out of range, or
        the prompt cannot be read.
    """
    config = runs.load_config(workdir)
    task = build.task(config)
    method = build.method(config, task)
    chosen = _options(config, options)
    if num_samples is None:
        num_samples = 1 if prompt is not None and chosen.greedy else 16
    if prompt is None and task.blank is not None:
        problems = task.blank(num_samples)
        split = None
    elif prompt is None:
        problems = _first(task, split, num_samples)
    else:
        row = task.parse_prompt(prompt)
        problems = jax.tree.map(lambda x: x.repeat(num_samples, axis=0), row)
        problems = problems._replace(index=np.arange(num_samples, dtype=np.int32))
    batch_size = _evaluation_sizes(config)["batch_size"]
    params, meta = checkpoint.read_params(workdir)
    samples = sampling.make_sampler(method, chosen, batch_size)(
        params, problems, jax.random.key(seed), progress=True
    )
    made_with = {
        "step": meta["step"],
        "seed": seed,
        "num_samples": num_samples,
        "prompt": prompt,
        "split": None if prompt else split,
        "options": chosen._asdict(),
        "with_bounds": with_bounds,
    }
    columns = {}
    if with_bounds:
        columns = evaluation.make_bounds(method, batch_size)(
            params,
            sampling.as_examples(samples, problems),
            jax.random.fold_in(jax.random.key(seed), 1),
            progress=True,
        )
    paths = sampling.write(
        runs.samples_folder(workdir, made_with),
        task,
        problems,
        samples,
        made_with | {"made_by": runs.provenance()},
        num_pictures=config.sample.num_pictures,
        columns=columns,
    )
    for row in range(min(num_samples, 5)):
        text = task.format(samples.tokens[row], int(samples.length[row]))
        print(text or "(empty)")
    if num_samples > 5:
        print(f"... and {num_samples - 5} more")
    print("Written to:")
    for path in paths:
        print(f"  {path}")


def orders(
    workdir: pathlib.Path,
    split: str,
    options: dict,
    seed: int,
    *,
    num_samples: int | None,
) -> None:
    """Measures in which order a run writes; writes `orders.json`, `orders.jsonl`
    (a line a sequence) and `orders.png`.

    Args:
      workdir: of the run.
      split: whose first examples to answer.
      options: of sampling, in place of the config's.
      seed: of the samples.
      num_samples: how many; None for as many as an evaluation draws.

    Raises:
      InputError: the directory is not that of a run, an option is out of range, or the
        split has too few examples.
    """
    config = runs.load_config(workdir)
    task = build.task(config)
    chosen = _options(config, options)
    sizes = _evaluation_sizes(config)
    measure = order_analysis.make_measurement(
        task, build.method(config, task), chosen, sizes["batch_size"]
    )
    if num_samples is None:
        num_samples = min(sizes["num_examples"], len(task.load(split).length))
    examples = _first(task, split, num_samples)
    params, meta = checkpoint.read_params(workdir)
    report = measure(params, examples, jax.random.key(seed), progress=True)
    title = f"{task.name}, {config.method.name}, step {meta['step']}"
    print(title)
    print(order_analysis.table(report))
    made_with = {
        "step": meta["step"],
        "seed": seed,
        "num_samples": len(examples.length),
        "split": split,
        "options": chosen._asdict(),
        "made_by": runs.provenance(),
    }
    print("Written to:")
    for path in order_analysis.write(workdir, report, made_with, title):
        print(f"  {path}")


def export(workdir: pathlib.Path, folder: str | None) -> None:
    """Writes a run's newest parameters, config and card to a folder of their own.

    Raises:
      InputError: the directory is not that of a run, no folder is named, or there is
        something in it.
    """
    if folder is None:
        raise InputError("--model is missing: it names the folder to write.")
    for path in released.export(workdir, pathlib.Path(folder).expanduser()):
        print(f"{path}: {path.stat().st_size:,} bytes")


def prepare(config: ConfigDict) -> None:
    """Fetches and prepares the data of a config, and says what there is.

    Raises:
      InputError: the config does not allow it, or a download fails.
    """
    for line in build.fetch(config):
        print(line)
    task = build.task(config)
    print(f"{task.name}: {len(task.vocabulary)} tokens, up to {task.max_length} a row")
    for split in task.splits:
        lengths = np.asarray(task.load(split).length)
        print(f"  {split}: {len(lengths):,} rows of {lengths.mean():.1f} tokens")


def _first(task, split, num_samples):
    """The first examples of a split.

    Raises:
      InputError: it has fewer.
    """
    examples = task.load(split)
    if num_samples > len(examples.length):
        raise InputError(
            f"--num_samples is {num_samples}, but the {split} split has "
            f"{len(examples.length)} examples."
        )
    return jax.tree.map(lambda x: x[:num_samples], examples)


def _settled(config, task):
    """The config with what the data decided, so that a run does without them."""
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.task.update(dict(task.settings))
    return config


def _check_init(method, optimizer_config, train_examples):
    """Shows, at no cost, whether networks, method and optimiser go together."""
    optimizer = state.make_optimizer(optimizer_config)
    example = jax.tree.map(lambda x: x[0], train_examples)
    jax.eval_shape(
        lambda: state.init_state(jax.random.key(0), method, example, optimizer)
    )


def _evaluation_sizes(config):
    """The config's section `evaluate`.

    Raises:
      InputError: a field is missing, or its value too small.
    """
    sizes = _fields(config, "evaluate", _LEAST)
    for name, least in _LEAST.items():
        if sizes[name] < least:
            raise InputError(
                f"evaluate.{name} is {sizes[name]}, but must be at least {least}."
            )
    return sizes


def _fields(config, section, names):
    values = config.get(section, {})
    for name in names:
        if name not in values:
            raise InputError(f"The config lacks the field {section}.{name}.")
    return {name: values[name] for name in names}


def _options(config, changes):
    """The config's sampling options with some of them replaced.

    Raises:
      InputError: a value out of range.
    """
    fields = sampling.SamplingOptions._fields
    values = _fields(config, "sample", fields)
    if changes.keys() & {"temperature", "top_p"}:
        # Who asks for a temperature wants no greedy samples, whatever the config has.
        if changes.get("greedy"):
            raise InputError(
                "--greedy goes without --temperature and --top_p, which it would ignore."
            )
        values["greedy"] = False
    values |= changes
    if not 0 < values["temperature"] < math.inf:
        raise InputError(
            f"temperature is {values['temperature']}; it must be positive and finite "
            "(for the most probable outcomes use greedy)."
        )
    if not 0 < values["top_p"] <= 1:
        raise InputError(f"top_p is {values['top_p']}; it must lie in (0, 1].")
    return sampling.SamplingOptions(**values)


def _described(options):
    if options.greedy:
        return "greedy"
    return f"temperature {options.temperature:g}, top_p {options.top_p:g}"
