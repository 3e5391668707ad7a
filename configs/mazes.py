"""Maze planning.

    python -m insertion_jax.main --mode=train --workdir=DIR \\
        --config=configs/mazes.py:family=braided,tier=easy,order=uniform,size=cpu

The argument after the colon picks, in any order:

    family        perfect (default), imperfect, braided
    tier          tiny (default), easy, medium, hard; subgoals2, subgoals7, subgoals12 are
                  the hard tier's maze with that many subgoals
    conditioning  anchored (default): subgoals stand on the canvas from the start;
                  prompt: they are listed before it
    maze_file     FILE: a maze of your own instead of a family's, a line a row, with #
                  for wall and spaces for free cells; the tier then says how many
                  subgoals there are and how long paths may be. No comma in its name

and `method`, `order` (but not task), `size` and all else that configs/star_graphs.py
takes, whose networks and schedules these are: both are planning tasks, and the paper
trains one network on them. RESULTS.md says what each reaches.
"""

import pathlib
import runpy

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

_STAR_GRAPHS = runpy.run_path(str(pathlib.Path(__file__).with_name("star_graphs.py")))

_CHOICES = {
    "family": ("perfect", "imperfect", "braided"),
    "tier": (
        "tiny",
        "easy",
        "medium",
        "hard",
        "subgoals2",
        "subgoals7",
        "subgoals12",
    ),
    "conditioning": ("anchored", "prompt"),
}
_OTHER_CHOICES = {
    name: choices
    for name, choices in _STAR_GRAPHS["_CHOICES"].items()
    if name not in _CHOICES
} | {"order": _STAR_GRAPHS["_ORDERS"]}


def get_config(argument: str = "") -> ConfigDict:
    """The config for a choice such as "family=braided,tier=easy"."""
    chosen = _parse(argument)
    others = [f"{name}={chosen[name]}" for name in _OTHER_CHOICES if name in chosen]
    config = _STAR_GRAPHS["get_config"](",".join(others))
    is_tiny = chosen["tier"] == "tiny"

    config.task = ConfigDict()
    config.task.name = "mazes"
    config.task.family = chosen["family"]
    config.task.tier = chosen["tier"]
    config.task.conditioning = chosen["conditioning"]
    config.task.maze = placeholder(str)  # the text of a maze of the family "own"
    config.task.seed = 2025  # of the maze and its paths; train.seed is another
    config.task.num_train = 5_000 if is_tiny else 50_000
    config.task.num_validation = 1_000 if is_tiny else 5_000
    config.task.num_test = 1_000 if is_tiny else 5_000
    if "maze_file" in chosen:
        # Imported here: other configs are read without the package.
        from insertion_jax.tasks import maze_files

        # The text, not the path: a run directory needs nothing from elsewhere.
        config.task.family = "own"
        config.task.maze = maze_files.as_text(maze_files.read(chosen["maze_file"]))

    # Anchored subgoals leave no prompt.
    if chosen["conditioning"] == "anchored":
        config.network.prompt_positions = False
        config.order_network.prompt_positions = False
    size = chosen.get("size", _OTHER_CHOICES["size"][0])
    if size == "cpu":
        steps = {"tiny": 600, "easy": 4_000}
        # Half of the paths are less than half as long as the longest.
        config.train.update(
            num_steps=steps.get(chosen["tier"], 20_000),
            chunk=10,
            max_padding=0.2,
            bucket_steps=10,
        )
        if is_tiny:
            config.train.update(eval_every=200, checkpoint_every=200)
        else:
            # A bound takes a pass over a long canvas for each step of each order.
            config.evaluate.update(num_bounds=32, num_validation_bounds=8)
            if config.network.get("kind") == "canvas":
                # Not padded to the longest path: half the time at 400 cells.
                config.method.num_widths = config.method.num_steps
    if size == "smoke":
        config.task.update(num_train=200, num_validation=10, num_test=20)
    return config


def _parse(argument):
    """What was chosen: all of ours, and those of the others that were named."""
    choices = _CHOICES | _OTHER_CHOICES
    given = _STAR_GRAPHS["parse"](argument, choices, files=("maze_file",))
    if {"family", "maze_file"} <= given.keys():
        raise ValueError(
            "The config's argument has both family and maze_file; choose one of them."
        )
    return {name: values[0] for name, values in _CHOICES.items()} | given
