"""Prepares, trains, evaluates, samples, exports: `python -m insertion_jax.main --help`."""

import pathlib

import jax
from absl import flags
from ml_collections import config_flags

from insertion_jax import command_line, modes, released
from insertion_jax.types import InputError

_MODE = flags.DEFINE_enum(
    "mode", "train", list(modes.MODES), "What to do with the run in --workdir."
)
_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "For --mode=train and prepare: a file of configs/, then a colon and what to choose "
    "in it, such as configs/star_graphs.py:tier=easy,method=insertion_process; "
    "--config.FIELD=VALUE overrides a field.",
    lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory of the run: config, checkpoints, results, samples."
)
_MODEL = flags.DEFINE_string(
    "model",
    None,
    "A model to use without training: one that comes with the package "
    f"({', '.join(released.names())}) or a folder that --mode=export wrote; --workdir is "
    "then where samples and results go. For --mode=export: the folder to write.",
)
_SPLIT = flags.DEFINE_enum(
    "split",
    "test",
    ["train", "validation", "test", "test_scaffolds"],
    "Examples to work on; test_scaffolds is of MOSES.",
)
_NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples",
    None,
    "How many sequences to draw; if not given, --mode=evaluate draws as many as the run's "
    "config says, --mode=orders likewise, and --mode=sample 16, or 1 as the greedy answer "
    "to a --prompt.",
    lower_bound=1,
)
_SAMPLES_PER_PROBLEM = flags.DEFINE_integer(
    "samples_per_problem",
    None,
    "For --mode=evaluate with linkers or fragments: how many of the samples are of one "
    "problem; the run's config says if not given.",
    lower_bound=1,
)
_PROMPT = flags.DEFINE_string(
    "prompt", None, "For --mode=sample: one problem of your own, as text."
)
_TEMPERATURE = flags.DEFINE_float(
    "temperature", None, "Of sampling; the run's config says if not given."
)
_TOP_P = flags.DEFINE_float(
    "top_p", None, "Nucleus of sampling; the run's config says if not given."
)
_GREEDY = flags.DEFINE_bool(
    "greedy", None, "Most probable outcomes; the run's config says if not given."
)
_BOUNDS = flags.DEFINE_bool(
    "bounds", False, "For --mode=sample: also bound the log-probability of each sample."
)
_SEED = flags.DEFINE_integer("seed", 0, "Of evaluation and sampling.", lower_bound=0)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "One process of several, such as the hosts of a TPU pod: join the others first.",
)

# The flags that not every mode uses.
_DRAWING = ("evaluate", "sample", "orders")
_MODES_OF = {
    "config": ("train", "prepare"),
    "model": (*_DRAWING, "export"),
    "split": _DRAWING,
    "num_samples": _DRAWING,
    "samples_per_problem": ("evaluate",),
    "prompt": ("sample",),
    "temperature": _DRAWING,
    "top_p": _DRAWING,
    "greedy": _DRAWING,
    "bounds": ("sample",),
    "seed": _DRAWING,
    "distributed": ("train",),
}


def main(argv):
    """Runs one mode; see the flags."""
    if len(argv) > 1:
        raise InputError(f"Unexpected argument {argv[1]!r}; flags start with --.")
    _check_mode(_MODE.value)
    if _MODE.value == "prepare":
        modes.prepare(_config("preparing data"))
        return
    if not _WORKDIR.value:
        raise InputError("--workdir is missing: it names the directory of the run.")
    if "://" in _WORKDIR.value:
        raise InputError(
            f"--workdir is {_WORKDIR.value!r}; it must be a folder, such as a mounted one."
        )
    workdir = pathlib.Path(_WORKDIR.value).expanduser().absolute()
    if _MODE.value == "train":
        config = _config("training")
        if _DISTRIBUTED.value:
            jax.distributed.initialize()
        modes.train(config, workdir)
        return
    if _MODE.value == "export":
        modes.export(workdir, _MODEL.value)
        return
    if _MODEL.value is not None:
        released.install(_MODEL.value, workdir)
    options = {
        "temperature": _TEMPERATURE.value,
        "top_p": _TOP_P.value,
        "greedy": _GREEDY.value,
    }
    options = {name: value for name, value in options.items() if value is not None}
    if _MODE.value == "evaluate":
        modes.evaluate(
            workdir,
            _SPLIT.value,
            options,
            _SEED.value,
            num_samples=_NUM_SAMPLES.value,
            samples_per_problem=_SAMPLES_PER_PROBLEM.value,
        )
    elif _MODE.value == "orders":
        modes.orders(
            workdir,
            _SPLIT.value,
            options,
            _SEED.value,
            num_samples=_NUM_SAMPLES.value,
        )
    else:
        modes.sample(
            workdir,
            _SPLIT.value,
            options,
            _SEED.value,
            num_samples=_NUM_SAMPLES.value,
            prompt=_PROMPT.value,
            with_bounds=_BOUNDS.value,
        )


def _check_mode(mode):
    """Raises an InputError where a flag was given that the mode would ignore."""
    for name, others in _MODES_OF.items():
        if flags.FLAGS[name].present and mode not in others:
            *most, last = others
            allowed = " and ".join(filter(None, [", ".join(most), last]))
            raise InputError(
                f"--{name} is for --mode={allowed}; --mode={mode} would ignore it."
            )


def _config(purpose):
    if _CONFIG.value is None:
        raise InputError(
            f"--config is missing: {purpose} needs one, such as "
            "--config=configs/star_graphs.py:tier=tiny."
        )
    return _CONFIG.value


if __name__ == "__main__":
    command_line.run(main)
