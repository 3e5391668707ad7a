"""How a training step grows with length, width, batch or devices, for both networks.

    python benchmarks/scaling.py --vary=length

A step is the gradient of the surrogate of the uniform order with two orders: of the
trajectory network at every step of each order, of the canvas network at one. One of
four sizes is varied, the others are those of the flags. Prints a table and a line of
JSON:

    steps/s    one over the median of the turns
    targets/s  predictions of a next token that enter the gradient, a second
    gflop      operations of a step, as the compiler counts them
    share      their rate over that of matrix products in the same process
    megabytes  peak of temporary memory
    slope      of log(seconds) against log(size), least squares
"""

import jax
import jax.numpy as jnp
import measure
import numpy as np
import policies
from absl import app, flags
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from insertion_jax.methods import insertion_process
from insertion_jax.networks.transformer import TransformerConfig

_SIZES = {
    "length": [16, 32, 64, 128, 256, 512],
    "width": [64, 128, 256, 512],
    "batch": [4, 16, 64],
    "devices": None,
}
_VARY = flags.DEFINE_enum("vary", "length", list(_SIZES), "Which size to vary.")
_LENGTH = flags.DEFINE_integer("length", 32, "Tokens of a sequence.")
_BATCH = flags.DEFINE_integer("batch", 8, "Sequences, over all devices.")
_WIDTH = flags.DEFINE_integer("width", 128, "Of the residual stream.")
_LAYERS = flags.DEFINE_integer("layers", 4, "Blocks.")
_HEADS = flags.DEFINE_integer("heads", 4, "Attention heads.")
_VOCAB = flags.DEFINE_integer("vocab", 64, "Token ids, specials included.")
_REMAT = flags.DEFINE_bool("remat", False, "Recompute blocks in the backward pass.")
_TURNS = flags.DEFINE_integer("turns", 3, "How often to time.", lower_bound=1)
_NUM_ORDERS = 2


def main(argv):
    del argv
    sizes = _SIZES[_VARY.value]
    if sizes is None:
        count = jax.device_count()
        sizes = [n for n in (2**i for i in range(10)) if n <= count]
    rows = []
    for size in sizes:
        at = {"length": _LENGTH.value, "width": _WIDTH.value, "batch": _BATCH.value}
        rows += measured(**(at | {"devices": 1} | {_VARY.value: size}), size=size)
    slopes = {f"slope_{kind}": slope(rows, kind) for kind in policies.KINDS}
    measure.show(rows, vary=_VARY.value, **slopes)


def measured(length, width, batch, devices, size):
    """A row for each network."""
    config = TransformerConfig(
        num_layers=_LAYERS.value,
        num_heads=_HEADS.value,
        width=width,
        dropout=0.0,
        remat=_REMAT.value,
    )
    mesh = Mesh(np.array(jax.devices()[:devices]), "batch")
    rows_of = NamedSharding(mesh, PartitionSpec("batch"))
    everywhere = NamedSharding(mesh, PartitionSpec())
    examples = policies.examples(batch, length, _VOCAB.value)
    keys = jax.random.split(jax.random.key(1), batch)
    args = jax.device_put((examples, keys), rows_of)
    steps = {"trajectory": None, "canvas": 1}
    calls, counts = {}, {}
    for kind in policies.KINDS:
        params, policy_of = policies.network(kind, config, _VOCAB.value, examples)
        params = jax.device_put(params, everywhere)

        def loss(params, examples, keys, kind=kind, policy_of=policy_of):
            def one(example, key):
                surrogate, _ = insertion_process.elbo_surrogate(
                    key,
                    policy_of(params, example),
                    jnp.zeros(length),
                    example.tokens,
                    example.length,
                    num_samples=_NUM_ORDERS,
                    num_steps=steps[kind],
                    learned=False,
                )
                return -surrogate

            return jnp.mean(jax.vmap(one)(examples, keys))

        compiled, flop, memory = measure.compile(jax.grad(loss), params, *args)
        calls[kind] = lambda run=compiled, params=params: run(params, *args)
        counts[kind] = flop, memory
    seconds, matmul = measure.seconds_in_turns(calls, _TURNS.value)
    # At step t there are L - t tokens to predict; the canvas network sees one t.
    targets = {"trajectory": length * (length + 1) / 2, "canvas": length / 2}
    return [
        {
            "network": kind,
            _VARY.value: size,
            "steps/s": 1 / seconds[kind],
            "targets/s": batch * _NUM_ORDERS * targets[kind] / seconds[kind],
            "gflop": flop / 1e9,
            "share": flop / seconds[kind] / (matmul * devices),
            "megabytes": memory / 1e6,
        }
        for kind, (flop, memory) in counts.items()
    ]


def slope(rows, kind):
    """Of log(seconds) against log(size)."""
    points = [(row[_VARY.value], 1 / row["steps/s"]) for row in rows]
    of_kind = [p for p, row in zip(points, rows, strict=True) if row["network"] == kind]
    if len(of_kind) < 2:
        return float("nan")
    size, seconds = np.log(np.array(of_kind)).T
    return float(np.polyfit(size, seconds, 1)[0])


if __name__ == "__main__":
    app.run(main)
