"""A figure of when atoms, bonds, ring labels and parentheses are written."""

from os import PathLike

import matplotlib.figure

from insertion_jax.estimates import estimate
from insertion_jax.tasks.insertion_orders import Order

_TITLES = {
    "atom": "atoms",
    "bond": "bonds",
    "ring": "ring labels",
    "parenthesis": "parentheses",
    "dot": "dots",
    "attachment": "attachment points",
}


def draw(order: Order, path: str | PathLike) -> None:
    """Draws mean times of insertion and two rates, with 95 % intervals.

    Args:
      order: of the samples.
      path: of the file; its ending says which format.
    """
    kinds = {
        f"{_TITLES[name]} ({int(score.count.sum()):,} molecules)": estimate(score)
        for name, score in order.mean_time.items()
    }
    rates = {
        "all other tokens before the first atom": estimate(order.skeleton_first),
        "parentheses and ring labels in pairs": estimate(order.balanced),
    }
    figure = matplotlib.figure.Figure(figsize=(7, 3.6), layout="constrained")
    above, below = figure.subplots(
        2, 1, height_ratios=[max(len(kinds), 1), len(rates)], sharex=True
    )
    _intervals(above, kinds)
    above.set_title("mean time of insertion, 0 first and 1 last", fontsize=9)
    above.axvline(0.5, color="0.7", linestyle="--", linewidth=1)
    _intervals(below, rates)
    below.set_title("share of the samples", fontsize=9)
    below.set_xlim(0, 1)
    figure.savefig(path, dpi=120)


def _intervals(axes, estimates):
    for row, found in enumerate(estimates.values()):
        low, high = max(found.low, 0), min(found.high, 1)
        axes.plot([low, high], [row, row], color="tab:blue", linewidth=2)
        axes.plot(found.value, row, "o", color="tab:blue", markersize=5)
    axes.set_yticks(range(len(estimates)), list(estimates), fontsize=8)
    axes.set_ylim(len(estimates) - 0.5, -0.5)
