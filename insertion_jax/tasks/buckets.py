"""Sequences of like lengths together, so that little is spent on padding."""

import numpy as np

from insertion_jax.types import InputError


def widths(lengths: np.ndarray, max_padding: float = 0.15) -> list[int]:
    """The fewest widths that keep padding below a share of what is computed.

    Each sequence is padded to the smallest width that it fits. Widths are placed where
    they save most, found exactly by dynamic programming over the different lengths.

    Args:
      lengths: int[N] of the sequences, N >= 1.
      max_padding: share of padding among all positions, in (0, 1).

    Returns:
      Increasing; the last is the longest length.

    Raises:
      InputError: `max_padding` is out of range.
    """
    if not 0 < max_padding < 1:
        raise InputError(f"max_padding is {max_padding}; it must lie in (0, 1).")
    sizes, counts = np.unique(np.maximum(lengths, 1), return_counts=True)
    needed = (sizes * counts).sum()
    before = np.concatenate([[0], counts.cumsum()])
    # cost[j]: least positions for the j shortest lengths with the widths so far.
    cost = np.concatenate([[0.0], np.full(len(sizes), np.inf)])
    steps = []
    while True:
        # total[i, j]: lengths i to j - 1 are padded to that of j - 1.
        total = cost[:-1, None] + (before[None, 1:] - before[:-1, None]) * sizes
        total = np.where(np.tri(len(sizes), k=-1, dtype=bool), np.inf, total)
        steps.append(total.argmin(axis=0))
        cost = np.concatenate([[np.inf], total.min(axis=0)])
        if 1 - needed / cost[-1] <= max_padding:
            break
    chosen, end = [], len(sizes)
    for step in reversed(steps):
        chosen.append(int(sizes[end - 1]))
        end = int(step[end - 1])
    return chosen[::-1]


def padding(lengths: np.ndarray, chosen: list[int]) -> float:
    """The share of padding among all positions.

    Args:
      lengths: int[N], none above the last width.
      chosen: increasing widths.
    """
    width = np.asarray(chosen)[np.searchsorted(chosen, lengths)]
    return float(1 - lengths.sum() / width.sum())
