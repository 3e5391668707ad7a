"""Bounds and task metrics of a trained model, with 95 % intervals."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from insertion_jax import sampling
from insertion_jax.types import Batch, Method, Score, Task

_Z = 1.959963984540054  # 97.5 % quantile of the normal law


class Estimate(NamedTuple):
    """A mean over examples with its 95 % interval.

    Attributes:
      value: the mean, or ratio of sums.
      low: Wilson's lower end for rates of yes and no, else the normal one.
      high: the upper end.
      num_examples: N; of a rate, those to which it applies.
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
    num = len(total)
    if num == 0 or count.sum() == 0:
        return Estimate(math.nan, math.nan, math.nan, num)
    value = total.sum() / count.sum()
    if score.is_rate:
        num = int(count.sum())
        low, high = wilson(total.sum(), count.sum())
    else:
        residual = (total - value * count) / count.mean()
        half = _Z * residual.std(ddof=1) / math.sqrt(num) if num > 1 else math.inf
        low, high = value - half, value + half
    return Estimate(float(value), float(low), float(high), num)


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


def make_evaluation(
    task: Task,
    method: Method,
    split: str,
    *,
    num_examples: int,
    num_bounds: int,
    batch_size: int,
    options: sampling.SamplingOptions,
    seed: int = 0,
) -> Callable[..., dict[str, Estimate]]:
    """Compiles an evaluation on the first examples of a split.

    Args:
      task: gives examples and metrics.
      method: gives bounds and samples.
      split: of the task.
      num_examples: examples to sample for; all if the split has fewer.
      num_bounds: examples, of these, to bound the log-likelihood of.
      batch_size: rows that run together.
      options: of sampling.
      seed: of all randomness.

    Returns:
      `evaluate(params, progress=False) -> dict` from the metric's name to its
      `Estimate`: the task's metrics, then the method's bounds in nats a sequence.
    """
    examples = _first(task.load(split), num_examples)
    bounded = _first(examples, num_bounds)
    sample = sampling.make_sampler(method, options, batch_size)
    bound = jax.jit(jax.vmap(method.bound, in_axes=(None, 0, 0)))

    def evaluate(params, progress=False):
        key_sample, key_bound = jax.random.split(jax.random.key(seed))
        samples = sample(params, examples, key_sample, progress)
        scores = task.score(
            examples, samples.tokens, samples.length, samples.trace.stopped
        )
        parts = [
            bound(params, rows, keys)
            for rows, keys in sampling.batches(
                bounded, key_bound, batch_size, progress, "bounds"
            )
        ]
        for name in parts[0] if parts else ():
            values = np.concatenate([np.asarray(part[name]) for part in parts])
            values = values[: len(bounded.length)].astype(np.float64)
            scores[name] = Score(values, np.ones_like(values))
        return {name: estimate(score) for name, score in scores.items()}

    return evaluate


def table(estimates: dict[str, Estimate]) -> str:
    """Estimates as text, a line each."""
    width = max(map(len, estimates))
    lines = [f"{'metric':<{width}}  {'value':>9}  {'95 % interval':>20}  examples"]
    for name, e in estimates.items():
        interval = f"[{e.low:.4f}, {e.high:.4f}]"
        lines.append(
            f"{name:<{width}}  {e.value:>9.4f}  {interval:>20}  {e.num_examples:>8}"
        )
    return "\n".join(lines)


def _first(examples: Batch, count: int) -> Batch:
    return jax.tree.map(lambda x: x[:count], examples)
