"""Checkpoints of a run, under `workdir/checkpoints/STEP`.

A checkpoint holds the saveable form of a `TrainState` (see `placement`), in parts, so
that an evaluation need not read the optimiser, and a JSON dict `meta`. It is written
in the background and renamed when complete, so that a killed run leaves no half of one.
"""

import importlib.metadata
import logging
import pathlib
import platform
from collections.abc import Callable, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging as absl_logging

from insertion_jax.training import weights
from insertion_jax.training.state import TrainState
from insertion_jax.types import InputError

_logger = logging.getLogger(__name__)

_ARRAYS = ("params", "ema_params", "rest")
_PACKAGES = (
    "insertion_jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
)


def open_manager(
    workdir: str | pathlib.Path, *, keep: int = 3, read_only: bool = False
) -> ocp.CheckpointManager:
    """Opens the checkpoints of a run; leaving its `with` block waits for saves.

    Args:
      workdir: of the run; the checkpoints lie in its folder `checkpoints`.
      keep: how many of the newest checkpoints stay.
      read_only: neither creates the folder nor deletes anything.
    """
    # absl.app.run turns on INFO messages, of which orbax writes dozens a save.
    quiet = absl_logging.get_absl_logger()
    if _not_orbax not in quiet.filters:
        quiet.addFilter(_not_orbax)
    directory = pathlib.Path(workdir).absolute() / "checkpoints"
    if read_only:
        options = ocp.CheckpointManagerOptions(read_only=True)
    else:
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
    handlers = {name: ocp.StandardCheckpointHandler() for name in _ARRAYS}
    return ocp.CheckpointManager(
        directory,
        options=options,
        item_names=(*_ARRAYS, "meta"),
        item_handlers=handlers | {"meta": ocp.JsonCheckpointHandler()},
    )


def save(
    manager: ocp.CheckpointManager, state: TrainState, meta: Mapping[str, Any]
) -> None:
    """Saves a state in the background, unless its step is saved already.

    Args:
      manager: from `open_manager`.
      state: in the saveable form; it may be donated as soon as this returns.
      meta: what JSON can hold; "step" is added.
    """
    step = int(state.step)
    if step in manager.all_steps():
        return
    arrays = {name: ocp.args.StandardSave(x) for name, x in _parts(state).items()}
    meta = ocp.args.JsonSave({**meta, "step": step})
    manager.save(step, args=ocp.args.Composite(**arrays, meta=meta), force=True)


def restore_latest(
    manager: ocp.CheckpointManager, target: TrainState
) -> tuple[TrainState, dict[str, Any]]:
    """Restores the newest checkpoint that can be read.

    Damaged ones that are newer are renamed to `damaged-STEP`, so that the run can save
    these steps again; a line is logged for each.

    Args:
      manager: from `open_manager`.
      target: shapes, dtypes and shardings of the state, such as a placement's
        `restore_target` gives.

    Returns:
      The state in the saveable form and `meta`.

    Raises:
      InputError: there is no checkpoint.
      InputError: the checkpoint is of another model or optimiser, or none can be read.
    """
    parts = _parts(target)
    items = {name: ocp.args.StandardRestore(x) for name, x in parts.items()}

    def read(step):
        _check_fit(manager, step, parts)
        args = ocp.args.Composite(**items, meta=ocp.args.JsonRestore())
        return manager.restore(step, args=args)

    found, damaged = _newest(manager, read)
    for step in damaged:
        if jax.process_index() == 0:
            path = manager.directory / str(step)
            path.rename(manager.directory / f"damaged-{step}")
    if damaged:
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices("damaged checkpoints renamed")
        manager.reload()
    state = TrainState(
        params=found["params"], ema_params=found["ema_params"], **found["rest"]
    )
    return state, found["meta"]


def read_params(workdir: str | pathlib.Path) -> tuple[Any, dict[str, Any]]:
    """Reads the newest parameters of a run onto one device, for use after training.

    The run of a released model has no checkpoints but `model.safetensors`.

    Args:
      workdir: of the run.

    Returns:
      The parameter groups, with the moving average as group "policy", and the
      checkpoint's `meta`, which holds "step".

    Raises:
      InputError: there is no checkpoint.
      InputError: none can be read.
    """
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    directory = pathlib.Path(workdir).absolute() / "checkpoints"
    if not directory.is_dir():
        if (directory.parent / weights.FILE).exists():
            params, step = weights.read(directory.parent)
            return params, {"step": step}
        raise InputError(f"There are no checkpoints in {directory}.")
    with open_manager(workdir, read_only=True) as manager:

        def read(step):
            saved = manager.item_metadata(step)
            items = {
                name: ocp.args.StandardRestore(
                    jax.tree.map(
                        lambda x: jax.ShapeDtypeStruct(
                            x.shape, x.dtype, sharding=device
                        ),
                        dict(saved[name].tree),
                    )
                )
                for name in ("params", "ema_params")
            }
            args = ocp.args.Composite(**items, meta=ocp.args.JsonRestore())
            return manager.restore(step, args=args)

        found, _ = _newest(manager, read)
    return {**found["params"], "policy": found["ema_params"]}, found["meta"]


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


class _Misfit(InputError):
    """A checkpoint of something else; an older one will not do either."""


def _parts(state):
    return {
        "params": state.params,
        "ema_params": state.ema_params,
        "rest": {"step": state.step, "opt_state": state.opt_state, "key": state.key},
    }


def _newest(manager: ocp.CheckpointManager, read: Callable[[int], Any]):
    """Returns `read(step)` of the newest readable step, and the damaged newer steps."""
    steps = sorted(manager.all_steps(), reverse=True)
    if not steps:
        raise InputError(f"There are no checkpoints in {manager.directory}.")
    damaged = {}
    for step in steps:
        try:
            found = read(step)
        except _Misfit:
            raise
        # A damaged file can fail anywhere below, with any exception.
        except Exception as error:  # noqa: BLE001
            lines = str(error).splitlines() or [""]
            damaged[step] = f"{type(error).__name__}: {lines[0][:200]}"
            continue
        for bad, reason in damaged.items():
            _logger.warning(
                "Checkpoint %s/%d cannot be read (%s); falling back to step %d.",
                manager.directory,
                bad,
                reason,
                step,
            )
        return found, list(damaged)
    raise InputError(
        f"None of the {len(steps)} checkpoints in {manager.directory} can be read; "
        f"reading the newest, step {steps[0]}, fails with {damaged[steps[0]]}"
    )


def _check_fit(manager, step, parts):
    """Raises a _Misfit where the arrays of a checkpoint are not those of `parts`."""
    saved = manager.item_metadata(step)
    for name, target in parts.items():
        there = _shapes(dict(saved[name].tree))
        here = _shapes(target)
        for path in sorted(there.keys() | here.keys()):
            if there.get(path) != here.get(path):
                label = path if name == "rest" else f"{name}/{path}"
                raise _Misfit(
                    f"The checkpoint {manager.directory}/{step} does not fit this "
                    f"run: {label} is {_described(there.get(path))} there and "
                    f"{_described(here.get(path))} here; use the config that it was "
                    "made with, or another workdir."
                )


def _shapes(tree):
    def shape(leaf):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        return tuple(leaf.shape)

    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): shape(leaf)
        for path, leaf in leaves
    }


def _described(shape):
    return "absent" if shape is None else f"of shape {shape}"


def _not_orbax(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR or "orbax" not in record.pathname
