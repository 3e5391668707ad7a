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


def estimate(score: Score, group: np.ndarray | None = None) -> Estimate:
    """Sums up a metric over N examples.

    Args:
      score: totals and counts, float64[N].
      group: int[N], numbers from 0 of what entries have in common, such as the problem
        that they answer; entries of one group are not taken as independent. None where
        each is a group of its own.

    Returns:
      `Estimate`; the interval is Wilson's for rates, with as many trials as would be
      as certain if all were independent (Korn and Graubard, 1998), and the normal one of a
      ratio of means (delta method) elsewhere, which may reach beyond what is possible.
    """
    total, count = np.asarray(score.total), np.asarray(score.count)
    num_applicable = int(np.count_nonzero(count))
    if num_applicable == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    if group is not None:
        total, count = np.bincount(group, total), np.bincount(group, count)
    num = len(total)
    value = total.sum() / count.sum()
    residual = (total - value * count) / count.mean()
    deviation = residual.std(ddof=1) / math.sqrt(num) if num > 1 else math.inf
    if score.is_rate:
        # An entry of several trials, too, is one group.
        trials = _effective_trials(value, deviation, count)
        low, high = wilson(value * trials, trials)
    else:
        low, high = value - _Z * deviation, value + _Z * deviation
    return Estimate(float(value), float(low), float(high), num_applicable)


def _effective_trials(rate, deviation, count):
    """How many independent trials have this standard deviation of their rate.

    At least one a group, at most as many as there are; the former for rates of 0 and 1,
    which show nothing of how alike the trials of one group are.
    """
    least, most = np.count_nonzero(count), count.sum()
    if not 0 < rate < 1:
        return least
    with np.errstate(divide="ignore"):
        trials = rate * (1 - rate) / np.square(deviation)
    return np.clip(trials, least, most)


def wilson(successes: float, trials: float) -> tuple[float, float]:
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
