"""Where a step runs: the only file that names a mesh or an axis.

A placement wraps the axis-free step of `state.make_train_step`. Two kinds:

- "pmap": data parallel; every device holds the whole state and its share of the
  batch, sums go through `psum`. The state has no device axis: it enters and leaves
  with `in_axes=None`, so that it is one logical copy here as well.
- "sharded": `jit` over a mesh; the batch is sharded, the state replicated or, with
  `fsdp`, large leaves split over the devices. The compiler inserts the sums.

Both work for several processes: each gives the rows of its own devices.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from insertion_jax import types

NAMES = ("pmap", "sharded")

_AXIS = "devices"


class Placement(NamedTuple):
    """Functions that put things onto devices and run steps there.

    Attributes:
      name: of `NAMES`.
      num_devices: over all processes.
      check_batch_size: `(batch_size) -> None`; raises an InputError where the devices
        do not divide the global batch size.
      put_state: `(state) -> state` copies a state that is the same on every process.
      put_chunk: `(batches) -> batches`, from this process' rows as NumPy arrays
        [K, B_local, ...].
      compile: `(train_step) -> train_chunk`; `train_chunk(state, batches) ->
        (state, metrics)` makes K steps in one `lax.scan`, donates the state and
        gives metrics [K].
      fetch: `(metrics) -> metrics` as NumPy arrays; waits for them.
      saveable: `(state) -> state` as one logical copy spread over all devices, the
        form that checkpoints and evaluations use whatever the placement. It may
        share memory with its argument.
      restore_target: `(abstract_state) -> abstract_state` with the shardings of a
        saveable state.
      from_saveable: `(state) -> state`, the inverse of `saveable`.
    """

    name: str
    num_devices: int
    check_batch_size: Callable[[int], None]
    put_state: Callable[[Any], Any]
    put_chunk: Callable[[types.Batch], types.Batch]
    compile: Callable[..., Callable]
    fetch: Callable[[Any], Any]
    saveable: Callable[[Any], Any]
    restore_target: Callable[[Any], Any]
    from_saveable: Callable[[Any], Any]


def make(
    name: str,
    *,
    fsdp: bool = False,
    devices: Sequence[jax.Device] | None = None,
    min_shard_size: int = 2**14,
) -> Placement:
    """Returns the placement called `name`.

    Args:
      name: "pmap" or "sharded".
      fsdp: split large leaves of the state over the devices ("sharded" only).
      devices: all devices of all processes if None.
      min_shard_size: leaves of fewer entries stay replicated under `fsdp`.

    Raises:
      InputError: an unknown name, or `fsdp` with "pmap".
    """
    devices = jax.devices() if devices is None else devices
    # Contiguous by process, so that the rows of one process are contiguous too.
    devices = sorted(devices, key=lambda device: device.process_index)
    if name == "pmap":
        if fsdp:
            raise types.InputError(
                "fsdp splits the state over devices, which placement 'pmap' cannot; "
                "use placement 'sharded'."
            )
        return _pmap(devices)
    if name == "sharded":
        return _sharded(devices, min_shard_size if fsdp else None)
    raise types.InputError(f"placement is {name!r}; allowed are {', '.join(NAMES)}.")


def to_host(tree: Any) -> Any:
    """NumPy copies of arrays, gathered where they are split over processes."""

    def leaf(x):
        if x.is_fully_addressable or x.is_fully_replicated:
            return np.asarray(x)
        from jax.experimental import multihost_utils

        return multihost_utils.process_allgather(x, tiled=True)

    return jax.tree.map(leaf, tree)


def _pmap(devices):
    local_devices = [d for d in devices if d.process_index == jax.process_index()]
    on_all = NamedSharding(_mesh(devices), PartitionSpec())
    local_mesh = _mesh(local_devices)
    on_local = NamedSharding(local_mesh, PartitionSpec())
    one_each = NamedSharding(local_mesh, PartitionSpec(_AXIS))

    def put_chunk(batches):
        def leaf(x):
            num_steps, num_rows = x.shape[:2]
            size = num_rows // len(local_devices)
            x = x.reshape(num_steps, len(local_devices), size, *x.shape[2:])
            return jax.device_put(x.swapaxes(0, 1), one_each)

        return jax.tree.map(leaf, batches)

    def compile(train_step):
        def all_sum(tree):
            return jax.lax.psum(tree, _AXIS)

        def train_chunk(state, batches):
            return jax.lax.scan(
                lambda state, batch: train_step(state, batch, all_sum), state, batches
            )

        return jax.pmap(
            train_chunk,
            _AXIS,
            in_axes=(None, 0),
            out_axes=None,
            donate_argnums=0,
            devices=devices,
        )

    return Placement(
        name="pmap",
        num_devices=len(devices),
        check_batch_size=lambda size: _check_batch_size(size, len(devices)),
        put_state=lambda state: jax.device_put(_copied(state), on_local),
        put_chunk=put_chunk,
        compile=compile,
        fetch=_fetch,
        # pmap sees one process' devices, a checkpoint the devices of all.
        saveable=lambda state: _rewrap(state, on_all),
        restore_target=lambda state: _with_shardings(state, lambda _: on_all),
        from_saveable=lambda state: _rewrap(state, on_local),
    )


def _sharded(devices, min_shard_size):
    mesh = _mesh(devices)
    replicated = NamedSharding(mesh, PartitionSpec())
    by_row = NamedSharding(mesh, PartitionSpec(None, _AXIS))

    def sharding_of(leaf):
        if min_shard_size is None or leaf.size < min_shard_size:
            return replicated
        sizes = [n if n % len(devices) == 0 else 0 for n in leaf.shape]
        if not any(sizes):
            return replicated
        axis = int(np.argmax(sizes))
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, _AXIS))

    def shardings_of(state):
        return jax.tree.map(sharding_of, state)

    def put_chunk(batches):
        num_processes = len({device.process_index for device in devices})

        def leaf(x):
            shape = (x.shape[0], x.shape[1] * num_processes, *x.shape[2:])
            return jax.make_array_from_process_local_data(by_row, x, shape)

        return jax.tree.map(leaf, batches)

    def compile(train_step):
        def step(state, batch):
            state, metrics = train_step(state, batch)
            # Else the compiler may choose another layout for the carry, and the
            # donated buffers would not fit the result.
            return jax.lax.with_sharding_constraint(
                (state, metrics),
                (shardings_of(state), jax.tree.map(lambda _: replicated, metrics)),
            )

        return jax.jit(
            lambda state, batches: jax.lax.scan(step, state, batches), donate_argnums=0
        )

    return Placement(
        name="sharded",
        num_devices=len(devices),
        check_batch_size=lambda size: _check_batch_size(size, len(devices)),
        put_state=lambda state: jax.device_put(_copied(state), shardings_of(state)),
        put_chunk=put_chunk,
        compile=compile,
        fetch=_fetch,
        saveable=lambda state: state,
        restore_target=lambda state: _with_shardings(state, sharding_of),
        from_saveable=lambda state: state,
    )


def _mesh(devices):
    """A mesh of one axis over exactly these devices, in this order."""
    # Not jax.make_mesh, which reorders devices by their topology, while pmap does not.
    return Mesh(np.asarray(devices), (_AXIS,), axis_types=(AxisType.Auto,))


def _check_batch_size(batch_size, num_devices):
    if batch_size > 0 and batch_size % num_devices == 0:
        return
    below = batch_size // num_devices * num_devices
    nearest = [str(size) for size in (below, below + num_devices) if size > 0]
    raise types.InputError(
        f"The batch size {batch_size} cannot be spread evenly over {num_devices} "
        f"devices; the nearest sizes allowed are {' and '.join(nearest)}."
        if len(nearest) > 1
        else f"The batch size {batch_size} cannot be spread evenly over {num_devices} "
        f"devices; the smallest size allowed is {nearest[0]}."
    )


def _copied(state):
    # device_put reuses the buffers of a device that it goes to, even with
    # may_alias=False, and the caller's state would be donated with the new one.
    return jax.tree.map(jnp.copy, state)


def _fetch(metrics):
    # Metrics are the same on all devices; the first shard is the cheapest to read
    # and the only one that is surely addressable.
    return jax.tree.map(lambda x: np.asarray(x.addressable_shards[0].data), metrics)


def _with_shardings(abstract, sharding_of):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding_of(x)),
        abstract,
    )


def _rewrap(state, sharding):
    """The same replicated values as arrays over another set of devices, uncopied.

    All addressable devices of `sharding` must hold the values already.
    """

    def leaf(x):
        if x.sharding == sharding:
            return x
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            data = leaf(jax.random.key_data(x))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
        return jax.make_array_from_single_device_arrays(
            x.shape, sharding, [shard.data for shard in x.addressable_shards]
        )

    return jax.tree.map(leaf, state)
