"""Molecules around fragments: link, extend, decorate, grow.

    python -m insertion_jax.main --mode=train --workdir=DIR \\
        --config=configs/fragments.py:dataset=moses,test_file=drugs.csv,size=cpu
    python -m insertion_jax.main --mode=sample --workdir=DIR --num_samples=100 \\
        --prompt="c1ccccc1[*:1]"

The argument after the colon picks, in any order:

    dataset    as in configs/molecules.py: rdkit (default), moses, or FILE; written as
               bracket SAFE
    test_file  FILE of fragments to test on, in place of parts of molecules that were held
               out: a fragment a line, or a .csv with columns named for the tasks

and `method`, `order`, `network`, `termination` and `size` of configs/molecules.py, whose
networks and schedules these are; `moses` is for an accelerator.
"""

import pathlib
import runpy

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

_MOLECULES = runpy.run_path(str(pathlib.Path(__file__).with_name("molecules.py")))

_CHOICES = {
    "dataset": _MOLECULES["DATASETS"],
    **{
        name: _MOLECULES["_CHOICES"][name]
        for name in ("method", "order", "network", "termination", "size")
    },
}


def get_config(argument: str = "") -> ConfigDict:
    """The config for a choice such as "dataset=moses,order=uniform"."""
    chosen = _MOLECULES["parse"](argument, _CHOICES, files=("dataset", "test_file"))
    config = _MOLECULES["model_config"](chosen)
    dataset, size = chosen["dataset"], chosen["size"]
    if config.method.name == "insertion_process":
        config.method.min_insertions = 1  # before it may stop: open ends want more

    config.task = ConfigDict()
    config.task.name = "fragments"
    config.task.source = dataset  # rdkit, moses, or the path of a file
    config.task.test_file = placeholder(str)  # fragments to test on
    config.task.samples_per_fragment = 10  # how often each row of test is asked
    config.task.anchored_share = 0.5  # of training: some pieces are given
    config.task.num_train = placeholder(int)  # molecules to train on; none: all
    config.task.num_held_out = placeholder(int)  # in validation; none: a tenth
    config.task.max_length = placeholder(
        int
    )  # tokens; none: as many as the longest has
    config.task.vocabulary = placeholder(str)  # content tokens; none: those of the data
    config.task.seed = 2025  # of splits and fragments; train.seed is another
    config.task.data_dir = _MOLECULES["data_dir"]()
    if "test_file" in chosen:
        config.task.test_file = chosen["test_file"]
        config.task.samples_per_fragment = 100
        # All that the file asks for, and of none is there an answer to bound.
        config.evaluate.update(num_examples=100_000, num_bounds=0)
    if size == "smoke":
        config.task.update(num_train=200, num_held_out=30, samples_per_fragment=2)
    elif dataset not in _MOLECULES["DATASETS"] or size == "paper":
        config.task.max_length = 100
    return config
