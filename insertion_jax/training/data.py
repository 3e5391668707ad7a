"""Which rows a step trains on, and their way to the host's memory.

The rows of a step are a pure function of the seed and the step, so that resuming
needs no replay and a changed number of devices or processes changes nothing.
"""

import concurrent.futures
import functools
import time
from collections.abc import Iterator

import jax
import numpy as np

from insertion_jax import types
from insertion_jax.training import buckets


def check_size(num_examples: int, batch_size: int) -> None:
    """Raises an InputError where a data set has fewer examples than a batch."""
    if num_examples < batch_size:
        raise types.InputError(
            f"The data set has {num_examples} examples, fewer than the {batch_size} "
            "of one batch; use a batch size of at most the number of examples."
        )


def rows_at(seed: int, step: int, batch_size: int, num_examples: int) -> np.ndarray:
    """Returns the rows of the global batch of a step.

    Each epoch is a fresh permutation of the examples, cut into batches; the
    `num_examples % batch_size` examples at its end are left out of that epoch.

    Args:
      seed: of the data order, at least 0.
      step: counts from 0.
      batch_size: B.
      num_examples: N.

    Returns:
      int64[B], distinct numbers below N.

    Raises:
      InputError: fewer examples than one batch.
    """
    check_size(num_examples, batch_size)
    batches_per_epoch = num_examples // batch_size
    epoch, batch = divmod(step, batches_per_epoch)
    order = _permutation(seed, epoch, num_examples)
    return order[batch * batch_size : (batch + 1) * batch_size]


def make_chunk(
    examples: types.Batch,
    *,
    seed: int,
    start_step: int,
    chunk: int,
    batch_size: int,
    of_length: buckets.Buckets | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> types.Batch:
    """Returns one process' rows of the steps `start_step`, ..., `start_step + K - 1`.

    Args:
      examples: all examples of the data set as NumPy arrays [N, ...].
      seed: of the data order.
      start_step: the first step.
      chunk: K.
      batch_size: B, of all processes together.
      of_length: the examples' buckets, if like lengths go together; K divides their
        `group`, and `start_step` is a multiple of K.
      process_index: which process this is.
      process_count: how many share the batch; divides B.

    Returns:
      A `Batch` of NumPy arrays [K, B / process_count, ...], the targets cut to the
      width of their bucket; `index` is the row's number in the global batch.
    """
    num_examples = len(examples.length)
    size = batch_size // process_count
    own = np.arange(process_index * size, (process_index + 1) * size, dtype=np.int32)
    steps = range(start_step, start_step + chunk)
    if of_length is None:
        rows = [rows_at(seed, step, batch_size, num_examples) for step in steps]
    else:
        drawn = [buckets.rows_at(of_length, seed, step, batch_size) for step in steps]
        rows, widths = zip(*drawn, strict=True)
        examples = buckets.trim(examples, widths[0])
    rows = np.stack(rows)[:, own]
    batches = jax.tree.map(lambda x: x[rows], examples)
    return batches._replace(index=np.tile(own, (chunk, 1)))


class Chunks:
    """Iterates over the chunks of a run, prepared one ahead in the background.

    Attributes:
      seconds_waited: for how long the consumer waited for data so far.
    """

    def __init__(
        self,
        examples: types.Batch,
        *,
        seed: int,
        start_step: int,
        end_step: int,
        chunk: int,
        batch_size: int,
        of_length: buckets.Buckets | None = None,
        process_index: int = 0,
        process_count: int = 1,
    ):
        """Starts to prepare the first chunk.

        Args:
          examples: all examples of the data set as NumPy arrays [N, ...].
          seed: of the data order.
          start_step: the first step.
          end_step: the step after the last one; K divides the difference.
          chunk: K.
          batch_size: B, of all processes together.
          of_length: see `make_chunk`.
          process_index: which process this is.
          process_count: how many share the batch.

        Raises:
          InputError: fewer examples than one batch.
        """
        self.seconds_waited = 0.0
        check_size(len(examples.length), batch_size)
        self._make = functools.partial(
            make_chunk,
            examples,
            seed=seed,
            chunk=chunk,
            batch_size=batch_size,
            of_length=of_length,
            process_index=process_index,
            process_count=process_count,
        )
        self._starts = iter(range(start_step, end_step, chunk))
        self._executor = concurrent.futures.ThreadPoolExecutor(1, "data")
        self._future = self._submit()

    def __iter__(self) -> Iterator[types.Batch]:
        return self

    def __next__(self) -> types.Batch:
        if self._future is None:
            self.close()
            raise StopIteration
        start = time.perf_counter()
        batches = self._future.result()
        self.seconds_waited += time.perf_counter() - start
        self._future = self._submit()
        return batches

    def close(self) -> None:
        """Ends the background thread."""
        self._executor.shutdown(cancel_futures=True)

    def _submit(self):
        start = next(self._starts, None)
        return (
            None
            if start is None
            else self._executor.submit(self._make, start_step=start)
        )


@functools.lru_cache(maxsize=2)
def _permutation(seed, epoch, num_examples):
    # The stream of the legacy generator is frozen across versions of NumPy; that of
    # the newer ones is not.
    random_state = np.random.RandomState([seed & 0xFFFFFFFF, seed >> 32, epoch])
    order = random_state.permutation(num_examples).astype(np.int64)
    order.flags.writeable = False
    return order
