"""Sequences of like lengths together, so that little is spent on padding.

The rows of a step are a pure function of the seed and the step here, too. Each group of
steps draws a bucket with the probability of its share of the examples, and takes the
next rows of an endless sequence of the bucket's permutations: in expectation a step
learns from all examples alike, however long they are.
"""

import functools
from typing import NamedTuple

import numpy as np

from insertion_jax.types import Batch, InputError


class Buckets(NamedTuple):
    """Examples by length.

    Attributes:
      widths: to which targets are padded, increasing.
      rows: int64[N_b] of each width, the examples that fit it and no smaller one.
      group: how many steps in a row use one width.
    """

    widths: tuple[int, ...]
    rows: tuple[np.ndarray, ...]
    group: int


def make(lengths: np.ndarray, max_padding: float, group: int) -> Buckets:
    """Sorts examples into buckets.

    Args:
      lengths: int[N] of the targets, N >= 1.
      max_padding: see `widths`.
      group: at least 1.

    Raises:
      InputError: `max_padding` is out of range.
    """
    chosen = widths(lengths, max_padding)
    bucket = np.searchsorted(chosen, lengths)
    rows = tuple(np.flatnonzero(bucket == b) for b in range(len(chosen)))
    return Buckets(tuple(chosen), rows, group)


def rows_at(
    buckets: Buckets, seed: int, step: int, batch_size: int
) -> tuple[np.ndarray, int]:
    """Which rows a step trains on.

    Args:
      buckets: of the data set.
      seed: of the data order, at least 0.
      step: counts from 0.
      batch_size: B.

    Returns:
      `(rows, width)`: int64[B], repeated only where a bucket begins anew; the
      width to which their targets are padded.
    """
    number, inside = divmod(step, buckets.group)
    sizes = np.array([rows.size for rows in buckets.rows])
    # The stream of the legacy generator is frozen, and longer draws begin like shorter.
    draws = _random(seed, 0).random_sample(number + 1)
    chosen = np.searchsorted(np.cumsum(sizes) / sizes.sum(), draws, side="right")
    bucket = int(chosen[-1])
    earlier = int((chosen[:-1] == bucket).sum())
    start = (earlier * buckets.group + inside) * batch_size
    epoch, place = np.divmod(np.arange(start, start + batch_size), sizes[bucket])
    rows = np.empty(batch_size, np.int64)
    for number in np.unique(epoch).tolist():
        of_epoch = epoch == number
        order = _permutation(seed, bucket, number, int(sizes[bucket]))
        rows[of_epoch] = buckets.rows[bucket][order[place[of_epoch]]]
    return rows, buckets.widths[bucket]


def trim(batch: Batch, width: int) -> Batch:
    """Cuts the targets' padding so that `width` positions are left.

    Args:
      batch: of targets that are no longer; any leading axes.
      width: at most L.
    """
    return batch._replace(
        tokens=batch.tokens[..., :width],
        anchored=batch.anchored[..., :width],
        closed=batch.closed[..., : width + 1],
    )


def _random(seed, *numbers):
    return np.random.RandomState([seed & 0xFFFFFFFF, seed >> 32, *numbers])


@functools.lru_cache(maxsize=32)
def _permutation(seed, bucket, epoch, size):
    return _random(seed, 1 + bucket, epoch).permutation(size)


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
