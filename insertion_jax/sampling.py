"""Sequences from a trained model, and what became of them: text, traces, pictures."""

import json
import pathlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from insertion_jax import bars
from insertion_jax.core import trajectories
from insertion_jax.types import Batch, Method, Task, Trace


class SamplingOptions(NamedTuple):
    """How tokens and slots are drawn.

    Attributes:
      temperature: > 0.
      top_p: nucleus, in (0, 1].
      greedy: the most probable outcome at every draw; the other two do not matter.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    greedy: bool = False


class Samples(NamedTuple):
    """N generated sequences as NumPy arrays.

    Attributes:
      tokens: int32[N, L].
      length: int32[N].
      trace: `Trace` with a leading axis N.
      anchored: bool[N, L], tokens that were there from the start.
    """

    tokens: np.ndarray
    length: np.ndarray
    trace: Trace
    anchored: np.ndarray


def make_sampler(
    method: Method, options: SamplingOptions, batch_size: int
) -> Callable[..., Samples]:
    """Compiles a sampler once for any number of examples.

    Args:
      method: what samples.
      options: how.
      batch_size: rows that run in one loop.

    Returns:
      `sample(params, examples, key, progress=False) -> Samples`, one sequence a row
      of `examples`. Row i is drawn with key number i, so that results do not
      depend on the batch size.
    """

    def one(params, example, key):
        return method.sample(params, example, key, **options._asdict())

    run = jax.jit(jax.vmap(one, in_axes=(None, 0, 0)))

    def sample(params, examples, key, progress=False):
        # Fetched one by one: jax returns before it has computed, and the bar with it.
        parts = [
            jax.device_get(run(params, rows, keys))
            for rows, keys in batches(examples, key, batch_size, progress, "sampling")
        ]
        canvas, trace = joined(parts, len(examples.length))
        return Samples(canvas.tokens, canvas.length, trace, canvas.anchored)

    return sample


def batches(examples, key, batch_size, progress, title):
    """Yields `(rows, keys)` of a fixed size; the last is filled up with row 0.

    Args:
      examples: `Batch` of N rows.
      key: typed PRNG key.
      batch_size: B; the number of examples if that is less.
      progress: show how far it is.
      title: of the bar.
    """
    count = len(examples.length)
    batch_size = min(batch_size, max(count, 1))
    keys = jax.random.split(key, count)
    starts = range(0, count, batch_size)
    for start in bars.over(
        starts, len(starts), title=title, unit="batches", shown=progress
    ):
        rows = np.arange(start, start + batch_size)
        rows = np.where(rows < count, rows, 0)
        yield (
            jax.tree.map(lambda x, rows=rows: np.asarray(x[rows]), examples),
            keys[rows],
        )


def joined(parts, count):
    """Concatenates the outputs of batches as NumPy arrays of N rows."""
    return jax.tree.map(
        lambda *xs: np.concatenate([np.asarray(x) for x in xs])[:count], *parts
    )


def as_examples(samples: Samples, problems: Batch) -> Batch:
    """Samples as the targets of the problems that they answer.

    Args:
      samples: N sequences.
      problems: N rows.

    Returns:
      A Batch of N rows; tokens that were there from the start are its anchors.
    """
    return problems._replace(
        tokens=samples.tokens, length=samples.length, anchored=samples.anchored
    )


def insertion_steps(samples: Samples) -> np.ndarray:
    """The step at which each token was inserted.

    Args:
      samples: N sequences.

    Returns:
      int32[N, L]; -1 at anchored tokens and padding.
    """
    steps = np.full(samples.tokens.shape, -1, np.int32)
    perms = jax.vmap(_positions)(
        samples.trace.slot, samples.trace.num_steps, samples.anchored, samples.length
    )
    perms = np.asarray(perms)
    for row, (perm, count) in enumerate(
        zip(perms, samples.trace.num_steps, strict=True)
    ):
        steps[row, perm[:count]] = np.arange(count)
    return steps


def _positions(slots, num_steps, anchored, length):
    """int32[L]: final positions in order of insertion, from the slots of a trace."""
    size = slots.shape[0]
    step = jax.numpy.arange(size)
    # Anchored tokens count as inserted before all others, from left to right, and
    # what follows the last step as appended.
    num_anchored = (anchored & (step < length)).sum()
    source = step - num_anchored
    shifted = slots[jax.numpy.clip(source, 0, size - 1)]
    inserted = (source >= 0) & (source < num_steps)
    padded = jax.numpy.where(inserted, shifted, step)
    return jax.numpy.roll(trajectories.permutation_from_slots(padded), -num_anchored)


def write(
    folder: pathlib.Path,
    task: Task,
    examples: Batch,
    samples: Samples,
    meta: dict[str, Any],
    *,
    num_pictures: int,
    columns: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> list[pathlib.Path]:
    """Writes samples as `samples.jsonl`, `meta.json`, in the task's formats, pictures.

    Args:
      folder: made if missing; earlier files of these names are replaced.
      task: formats and draws.
      examples: N rows that the samples answer.
      samples: N sequences.
      meta: what the samples were made with.
      num_pictures: how many of the first samples to draw side by side; 0 for none.
      columns: more numbers of each sample, float[N] by name.

    Returns:
      The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    steps = insertion_steps(samples)
    scores = {}
    if np.any(examples.length):
        scores = task.score(
            examples, samples.tokens, samples.length, samples.trace.stopped
        )
    table = folder / "samples.jsonl"
    with table.open("w") as lines:
        for row in range(len(samples.length)):
            size = int(samples.length[row])
            answer = int(examples.length[row])
            line = {
                "index": int(examples.index[row]),
                "sample": task.format(samples.tokens[row], size),
                "target": task.format(examples.tokens[row], answer) if answer else None,
                "stopped": bool(samples.trace.stopped[row]),
                "insertion_steps": steps[row, :size].tolist(),
            }
            if answer:
                line |= {
                    name: float(score.total[row] / score.count[row])
                    for name, score in scores.items()
                    if score.is_own and score.count[row]
                }
            line |= {name: float(values[row]) for name, values in columns.items()}
            lines.write(json.dumps(line) + "\n")
    paths = [table, folder / "meta.json"]
    paths[1].write_text(json.dumps(meta, indent=2) + "\n")
    if task.write is not None:
        generated = (samples.tokens, samples.length, steps)
        paths += task.write(examples, *generated, columns, folder)
    if num_pictures:
        paths.append(folder / "samples.png")
        shown = jax.tree.map(
            lambda x: x[:num_pictures],
            (examples, samples.tokens, samples.length, steps),
        )
        task.draw(*shown, paths[-1])
        for name, picture in task.more_pictures.items():
            path = folder / name
            path.unlink(missing_ok=True)
            if picture(examples, samples.tokens, samples.length, steps, path):
                paths.append(path)
    return paths
