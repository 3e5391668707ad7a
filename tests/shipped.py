"""The configs that ship with the package, for tests."""

import functools
import pathlib
import runpy

from ml_collections import ConfigDict

REPOSITORY = pathlib.Path(__file__).parents[1]
STAR_GRAPHS = REPOSITORY / "configs" / "star_graphs.py"


def config(file: str, argument: str = "", **changes) -> ConfigDict:
    """A config that ships.

    Args:
      file: of `configs/`, without its ending.
      argument: what follows the colon on the command line.
      **changes: of fields, by names such as `train__batch_size`.
    """
    path = REPOSITORY / "configs" / f"{file}.py"
    made = runpy.run_path(str(path))["get_config"](argument)
    made.lock()
    for name, value in changes.items():
        section, field = name.split("__")
        made[section][field] = value
    return made


star_graphs = functools.partial(config, "star_graphs")
mazes = functools.partial(config, "mazes")
