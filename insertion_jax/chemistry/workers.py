"""Work on many molecules in several processes, with a progress bar."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from typing import Any

from insertion_jax import bars

# Below this a second process costs more time to start than it saves.
_MIN_ITEMS = 2_000
_CHUNK = 200


def run(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    *,
    title: str,
    num_workers: int | None = None,
    progress: bool = False,
) -> list[Any]:
    """Applies a function to every item, in order.

    Processes are started afresh ("spawn"), as a fork of a process with jax's threads
    may hang. Each takes 3 s and 200 MB to start; a script that calls this needs the
    usual `if __name__ == "__main__":`.

    Args:
      function: of one item, at the top level of a module; a `functools.partial`
        of one will do.
      items: N of them.
      title: of the bar.
      num_workers: processes; None for as many as there are cores to run on, 1 to
        stay in this process, as do fewer than 2,000 items if it is None.
      progress: show how far it is.

    Returns:
      N results.
    """
    if num_workers is None:
        cores = len(os.sched_getaffinity(0)) if _HAS_AFFINITY else os.cpu_count()
        num_workers = cores if len(items) >= _MIN_ITEMS else 1
    how = {"title": title, "unit": "molecules", "shown": progress}
    if num_workers <= 1:
        work = map(function, items)
        return list(bars.over(work, len(items), **how))
    context = multiprocessing.get_context("spawn")
    with context.Pool(num_workers) as pool:
        results = pool.imap(function, items, chunksize=_CHUNK)
        return list(bars.over(results, len(items), **how))


_HAS_AFFINITY = hasattr(os, "sched_getaffinity")
