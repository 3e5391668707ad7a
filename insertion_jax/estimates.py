"""Means over examples with 95 % intervals."""

import math
from typing import NamedTuple

import numpy as np

from insertion_jax.types import Score

_Z = 1.959963984540054  # 97.5 % quantile of the normal law


class Estimate(NamedTuple):
    """A mean over examples with its 95 % interval.

    Attributes:
      value: the mean, or ratio of sums.
      low: Wilson's lower end for rates of yes and no, else the normal one.
      high: the upper end.
      num_examples: to how many of the N examples it applies.
    """

    value: float
    low: float
    high: float
    num_examples: int


def estimate(score: Score) -> Estimate:
    """Sums up a metric over N examples.

    Args:
      score: totals and counts, float64[N].

    Returns:
      `Estimate`; the interval is Wilson's for rates, and the normal one of a ratio of
      means (delta method) elsewhere, which may reach beyond what is possible.
    """
    total, count = np.asarray(score.total), np.asarray(score.count)
    num, num_applicable = len(total), int(np.count_nonzero(count))
    if num_applicable == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    value = total.sum() / count.sum()
    if score.is_rate:
        low, high = wilson(total.sum(), count.sum())
    else:
        residual = (total - value * count) / count.mean()
        half = _Z * residual.std(ddof=1) / math.sqrt(num) if num > 1 else math.inf
        low, high = value - half, value + half
    return Estimate(float(value), float(low), float(high), num_applicable)


def wilson(successes: float, trials: int) -> tuple[float, float]:
    """95 % interval of a rate (Wilson, 1927)."""
    rate = successes / trials
    centre = (rate + _Z**2 / (2 * trials)) / (1 + _Z**2 / trials)
    half = (
        _Z
        / (1 + _Z**2 / trials)
        * math.sqrt(rate * (1 - rate) / trials + _Z**2 / (4 * trials**2))
    )
    # At rates of 0 and 1 an end meets the rate; rounding must not push it past.
    return max(0.0, min(centre - half, rate)), min(1.0, max(centre + half, rate))
