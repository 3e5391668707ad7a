"""How a training step grows with length, width, batch or devices, for both networks.

    python benchmarks/scaling.py --vary=length
    python benchmarks/scaling.py --sizes=50,100,200,400 --picture=scaling.png
    python benchmarks/scaling.py --vary=widths --steps=4 --length=400

A step is the gradient of the surrogate of the uniform order with two orders: of the
trajectory network at every step of each order, of the canvas network at --steps of
them, cut to one width or, with --vary=widths, where that network runs alone, to
several. One size is varied, the others are those of the flags. Prints a table and a
line of JSON:

    steps/s    one over the median of the turns
    targets/s  predictions of a next token that enter the gradient, a second
    gflop      operations of a step, as the compiler counts them
    share      their rate over that of matrix products in the same process
    megabytes  peak of temporary memory
    slope      of log(seconds) against log(size), least squares; the same of
               log(megabytes)
"""

import jax
import jax.numpy as jnp
import matplotlib
import measure
import numpy as np
import policies
from absl import app, flags
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from insertion_jax.methods import insertion_process
from insertion_jax.networks.transformer import TransformerConfig

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_DEFAULTS = {
    "length": [16, 32, 64, 128, 256, 512],
    "width": [64, 128, 256, 512],
    "batch": [4, 16, 64],
    "devices": [1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
    "widths": [1, 2, 4],
}
_VARY = flags.DEFINE_enum("vary", "length", list(_DEFAULTS), "Which size to vary.")
_SIZES = flags.DEFINE_list("sizes", None, "Its values, in place of the usual ones.")
_PICTURE = flags.DEFINE_string("picture", None, "File for a log-log plot.")
_LENGTH = flags.DEFINE_integer("length", 32, "Tokens of a sequence.")
_BATCH = flags.DEFINE_integer("batch", 8, "Sequences, over all devices.")
_WIDTH = flags.DEFINE_integer("width", 128, "Of the residual stream.")
_LAYERS = flags.DEFINE_integer("layers", 4, "Blocks.")
_HEADS = flags.DEFINE_integer("heads", 4, "Attention heads.")
_VOCAB = flags.DEFINE_integer("vocab", 64, "Token ids, specials included.")
_STEPS = flags.DEFINE_integer("steps", 1, "Of an order, for the canvas network.")
_REMAT = flags.DEFINE_bool("remat", False, "Recompute blocks in the backward pass.")
_TURNS = flags.DEFINE_integer("turns", 3, "How often to time.", lower_bound=1)
_NUM_ORDERS = 2
_COLORS = {"trajectory": "#440154", "canvas": "#e07b39"}
_PANELS = {
    "seconds": "seconds a step",
    "megabytes": "peak of temporary memory (MB)",
}


def main(argv):
    del argv
    sizes = [int(size) for size in _SIZES.value or _DEFAULTS[_VARY.value]]
    if _VARY.value == "widths" and any(_STEPS.value % size for size in sizes):
        raise app.UsageError(f"--steps must be a multiple of each width, {sizes}.")
    if _VARY.value == "devices":
        sizes = [size for size in sizes if size <= jax.device_count()]
    rows = []
    for size in sizes:
        at = {"length": _LENGTH.value, "width": _WIDTH.value, "batch": _BATCH.value}
        at |= {"devices": 1, "widths": 1}
        rows += measured(**(at | {_VARY.value: size}), size=size)
    if _PICTURE.value:
        draw(rows, _PICTURE.value)
    slopes = {
        f"slope of {column}, {kind}": slope(rows, kind, column)
        for column in _PANELS
        for kind in _kinds()
    }
    measure.show(rows, vary=_VARY.value, remat=_REMAT.value, **slopes)


def measured(length, width, batch, devices, widths, size):
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
    steps = {"trajectory": None, "canvas": _STEPS.value}
    calls, counts = {}, {}
    for kind in _kinds():
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
                    num_widths=widths,
                    max_anchored=0,
                    learned=False,
                )
                return -surrogate

            return jnp.mean(jax.vmap(one)(examples, keys))

        compiled, flop, memory = measure.compile(jax.grad(loss), params, *args)
        calls[kind] = lambda run=compiled, params=params: run(params, *args)
        counts[kind] = flop, memory
    seconds, matmul = measure.seconds_in_turns(calls, _TURNS.value)
    # At step t there are L - t tokens to predict; the canvas network sees some t.
    all_steps = length * (length + 1) / 2
    targets = {"trajectory": all_steps, "canvas": _STEPS.value * length / 2}
    return [
        {
            "network": kind,
            _VARY.value: size,
            "seconds": seconds[kind],
            "steps/s": 1 / seconds[kind],
            "targets/s": batch * _NUM_ORDERS * targets[kind] / seconds[kind],
            "gflop": flop / 1e9,
            "share": flop / seconds[kind] / (matmul * devices),
            "megabytes": memory / 1e6,
        }
        for kind, (flop, memory) in counts.items()
    ]


def _kinds():
    """The networks to measure: one pass over a trajectory has nothing to cut."""
    return ["canvas"] if _VARY.value == "widths" else list(policies.KINDS)


def slope(rows, kind, column):
    """Of log(column) against log(size), least squares."""
    size, values = curve(rows, kind, column)
    if len(size) < 2:
        return float("nan")
    return float(np.polyfit(np.log(size), np.log(values), 1)[0])


def curve(rows, kind, column):
    """Sizes and what was measured at them."""
    of_kind = [row for row in rows if row["network"] == kind]
    return tuple(
        np.array([row[name] for row in of_kind]) for name in (_VARY.value, column)
    )


def draw(rows, path):
    """Each panel's quantity against the size, with its slope beside it."""
    figure, axes = plt.subplots(1, len(_PANELS), figsize=(9, 3.4), layout="constrained")
    for axis, (column, title) in zip(axes, _PANELS.items(), strict=True):
        for kind in _kinds():
            color = _COLORS[kind]
            size, values = curve(rows, kind, column)
            label = f"{kind} network, slope {slope(rows, kind, column):.2f}"
            axis.loglog(size, values, "o-", color=color, label=label, linewidth=1.4)
        axis.set(xlabel=_VARY.value, title=title)
        axis.set_xticks(size, [str(value) for value in size], minor=False)
        axis.minorticks_off()
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
        axis.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    app.run(main)
