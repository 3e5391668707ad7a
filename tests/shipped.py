"""The configs that ship with the package, for tests."""

import pathlib
import runpy

from ml_collections import ConfigDict

REPOSITORY = pathlib.Path(__file__).parents[1]
STAR_GRAPHS = REPOSITORY / "configs" / "star_graphs.py"


def star_graphs(argument: str = "", **changes) -> ConfigDict:
    """The config of `configs/star_graphs.py`.

    Args:
      argument: what follows the colon on the command line.
      **changes: of fields, by names such as `train__batch_size`.
    """
    config = runpy.run_path(str(STAR_GRAPHS))["get_config"](argument)
    config.lock()
    for name, value in changes.items():
        section, field = name.split("__")
        config[section][field] = value
    return config
