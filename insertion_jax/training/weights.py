"""Parameters as one file that any tool can read (safetensors), without a checkpoint."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import safetensors
from safetensors.flax import save_file

from insertion_jax.types import InputError

FILE = "model.safetensors"


def write(folder: pathlib.Path, params: Any, step: int) -> pathlib.Path:
    """Writes `model.safetensors`.

    Args:
      folder: exists.
      params: nested dict of arrays; a leaf is named by its keys, joined with dots.
      step: updates made.

    Returns:
      The file.
    """
    leaves, _ = jax.tree.flatten_with_path(params)
    arrays = {
        jax.tree_util.keystr(keys, simple=True, separator="."): jnp.asarray(x)
        for keys, x in leaves
    }
    path = folder / FILE
    partial = path.with_suffix(".partial")
    save_file(arrays, partial, metadata={"step": str(step)})
    partial.replace(path)
    return path


def read(folder: pathlib.Path) -> tuple[Any, int]:
    """Reads what `write` wrote.

    Returns:
      `(params, step)`, arrays on the default device.

    Raises:
      InputError: the file cannot be read.
    """
    path = folder / FILE
    try:
        with safetensors.safe_open(path, framework="flax") as file:
            params = {}
            for name in file.keys():  # noqa: SIM118, the file is no dict
                *sections, leaf = name.split(".")
                section = params
                for key in sections:
                    section = section.setdefault(key, {})
                section[leaf] = file.get_tensor(name)
            step = int((file.metadata() or {}).get("step", 0))
    except (OSError, safetensors.SafetensorError, ValueError) as error:
        raise InputError(f"{path} cannot be read as safetensors: {error}.") from error
    return params, step
