"""Bounds and task metrics of a trained model, with 95 % intervals."""

import math
import sys
from collections.abc import Callable

import jax
import numpy as np

from insertion_jax import sampling
from insertion_jax.estimates import Estimate, estimate
from insertion_jax.types import Batch, Comparison, Method, Score, Task


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
    compares: bool = False,
) -> Callable[..., dict[str, Estimate]]:
    """Compiles an evaluation on the first examples of a split.

    Args:
      task: gives examples and metrics.
      method: gives bounds and samples.
      split: of the task.
      num_examples: examples to sample for; all if the split has fewer, and as many as
        asked for where problems give nothing.
      num_bounds: examples of the split to bound the log-likelihood of, at most as many
        as are sampled for; one that comes several times in a row is bounded once.
      batch_size: rows that run together.
      options: of sampling.
      seed: of all randomness.
      compares: also hold the samples against real data, where the task can.

    Returns:
      `evaluate(params, progress=False) -> dict` from the metric's name to its
      `Estimate`: the task's metrics, then the method's bounds in nats a sequence.
      Intervals know which samples in a row are of one problem; distances of the whole
      set have none.
    """
    held_out = task.load(split)
    examples = (
        _first(held_out, num_examples)
        if task.blank is None
        else task.blank(num_examples)
    )
    # Samples of one problem are not independent; those of no problem are.
    problem = (
        np.cumsum(_differs_from_last(examples)) - 1 if task.blank is None else None
    )
    bounded = _first_distinct(held_out, min(num_bounds, num_examples))
    sample = sampling.make_sampler(method, options, batch_size)
    bound = make_bounds(method, batch_size)

    def evaluate(params, progress=False):
        if progress:
            print(
                f"Sampling {len(examples.length):,} sequences, then bounding the "
                f"likelihood of {len(bounded.length):,} of the {split} split.",
                file=sys.stderr,
                flush=True,
            )
        key_sample, key_bound = jax.random.split(jax.random.key(seed))
        samples = sample(params, examples, key_sample, progress)
        scores = task.score(
            examples, samples.tokens, samples.length, samples.trace.stopped
        )
        found = {name: estimate(score, problem) for name, score in scores.items()}
        if compares and task.compare is not None:
            compared = task.compare(examples, samples.tokens, samples.length)
            found |= {name: estimate(score) for name, score in compared.scores.items()}
            found |= of_sets(compared)
            for sentence in compared.missing if progress else ():
                print(sentence, file=sys.stderr)
        for name, values in bound(params, bounded, key_bound, progress).items():
            found[name] = estimate(Score(values, np.ones_like(values)))
        return found

    return evaluate


def of_sets(found: Comparison) -> dict[str, Estimate]:
    """Distances, and what real data reach, as estimates without intervals.

    Args:
      found: of a task.
    """
    estimates = {}
    for name, (value, num, floor) in found.distances.items():
        estimates[name] = Estimate(value, math.nan, math.nan, num)
        if floor is not None:
            title = f"{name} of real data"
            estimates[title] = Estimate(floor, math.nan, math.nan, num)
    return estimates


def make_bounds(
    method: Method, batch_size: int
) -> Callable[..., dict[str, np.ndarray]]:
    """Compiles the bounds of log-probabilities.

    Args:
      method: bounds.
      batch_size: rows that run together.

    Returns:
      `bounds(params, examples, key, progress=False) -> dict` of float64[N] in nats, by
      name; empty for no examples.
    """
    run = jax.jit(jax.vmap(method.bound, in_axes=(None, 0, 0)))

    def bounds(params, examples, key, progress=False):
        parts = [
            jax.device_get(run(params, rows, keys))
            for rows, keys in sampling.batches(
                examples, key, batch_size, progress, "bounds"
            )
        ]
        return {
            name: np.concatenate(
                [np.asarray(part[name], np.float64) for part in parts]
            )[: len(examples.length)]
            for name in (parts[0] if parts else ())
        }

    return bounds


def as_json(estimate: Estimate) -> dict[str, float | None]:
    """An estimate for a JSON file, which knows neither NaN nor infinity."""
    values = estimate._asdict().items()
    return {name: value if math.isfinite(value) else None for name, value in values}


def table(estimates: dict[str, Estimate]) -> str:
    """Estimates as text, a line each."""
    width = max(map(len, estimates))
    lines = [f"{'metric':<{width}}  {'value':>9}  {'95 % interval':>20}  examples"]
    for name, e in estimates.items():
        interval = "" if math.isnan(e.low) else f"[{e.low:.4f}, {e.high:.4f}]"
        lines.append(
            f"{name:<{width}}  {e.value:>9.4f}  {interval:>20}  {e.num_examples:>8}"
        )
    return "\n".join(lines)


def _first(examples: Batch, count: int) -> Batch:
    return jax.tree.map(lambda x: x[:count], examples)


def _first_distinct(examples: Batch, count: int) -> Batch:
    """Passes over rows that repeat the one before: their bounds would count as new."""
    rows = np.flatnonzero(_differs_from_last(examples))[:count]
    return jax.tree.map(lambda x: x[rows], examples)


def _differs_from_last(examples: Batch) -> np.ndarray:
    """Whether a row is not that before it; the first never is."""
    new = np.ones(len(examples.length), bool)
    differs = [
        (x[1:] != x[:-1]).any(axis=tuple(range(1, x.ndim)))
        # The index is another in every row.
        for x in map(np.asarray, examples._replace(index=examples.length))
    ]
    new[1:] = np.any(differs, axis=0)
    return new
