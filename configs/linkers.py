"""Linker design: join two fragments of a molecule.

    python -m insertion_jax.main --mode=train --workdir=DIR \\
        --config=configs/linkers.py:dataset=moses,order=learned,size=cpu
    python -m insertion_jax.main --mode=sample --workdir=DIR --num_samples=100 \\
        --prompt="c1ccccc1[*:1].CC(=O)N[*:2]"

The argument after the colon picks, in any order:

    dataset    as in configs/molecules.py: rdkit (default), moses, or FILE; all double cuts
               of its molecules are trained on
    test_file  FILE of molecules, linkers and fragments to test on, in place of cuts of
               molecules that were held out

and `method`, `order`, `network` and `size` of configs/molecules.py, whose networks and
schedules these are; with MOSES, 4,500 updates of the learned order took 90 minutes of one
core. `moses` is for an accelerator. Fragments stand at both ends of the string, so that
only a stop outcome can end it.
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
        for name in ("method", "order", "network", "size")
    },
}


def get_config(argument: str = "") -> ConfigDict:
    """The config for a choice such as "dataset=moses,order=uniform"."""
    chosen = _MOLECULES["parse"](argument, _CHOICES, files=("dataset", "test_file"))
    config = _MOLECULES["model_config"](chosen)
    size = chosen["size"]
    if config.method.name == "insertion_process":
        config.method.min_insertions = 1  # before it may stop: no linker is empty

    config.task = ConfigDict()
    config.task.name = "linkers"
    config.task.source = chosen["dataset"]  # rdkit, moses, or the path of a file
    config.task.test_file = placeholder(str)  # pairs to test on
    config.task.samples_per_pair = 10  # how often each test pair is asked
    # Heavy atoms: of the linker and of each fragment, and of the linker's shortest
    # path; by default those of DeLinker.
    config.task.min_linker = 3
    config.task.min_fragment = 5
    config.task.min_path = 2
    config.task.linker_is_smallest = True  # no larger than either fragment
    config.task.num_train = placeholder(int)  # molecules to cut; none: all
    config.task.num_held_out = placeholder(int)  # likewise, for validation and for test
    config.task.max_length = placeholder(
        int
    )  # tokens; none: as many as the longest has
    config.task.vocabulary = placeholder(str)  # content tokens; none: those of the data
    config.task.seed = 2025  # of splits and cuts; train.seed is another
    config.task.data_dir = _MOLECULES["data_dir"]()
    if "test_file" in chosen:
        config.task.test_file = chosen["test_file"]
    if size == "smoke":
        config.task.update(num_train=200, num_held_out=30, samples_per_pair=2)
    elif chosen["dataset"] == "moses":
        # To cut them all takes an hour or two.
        config.task.num_train = 100_000 if size == "cpu" else 500_000
    return config
