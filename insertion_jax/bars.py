"""How far a long piece of work is: a bar on a terminal, now and then a line elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import tqdm

_Item = TypeVar("_Item")

# Between two lines where there is no terminal; what is shorter prints none.
_SECONDS = 30.0


def over(
    items: Iterable[_Item], total: int, *, title: str, unit: str, shown: bool
) -> Iterator[_Item]:
    """Iterates, and shows on stderr how far it is and how long it may still take.

    On a terminal it is a bar that is gone at the end. In a file it would be one endless
    line, so that there a line is printed every 30 s, and none of what ends sooner.

    Args:
      items: `total` of them.
      total: their number.
      title: what is being done.
      unit: an item is called, in the plural.
      shown: show nothing if False.

    Yields:
      The items.
    """
    if not shown:
        yield from items
    elif sys.stderr.isatty():
        yield from tqdm.tqdm(
            items, total=total, desc=title, unit=f" {unit}", leave=False
        )
    else:
        yield from _with_lines(items, total, title, unit)


def _with_lines(items, total, title, unit):
    due = time.monotonic() + _SECONDS
    for done, item in enumerate(items):
        now = time.monotonic()
        if done == 1:
            start = now  # The first may have had to load or to compile something.
        if done > 1 and now >= due:
            left = (now - start) / (done - 1) * (total - done)
            print(
                f"{title}: {done:,} of {total:,} {unit}, {_duration(left)} left",
                file=sys.stderr,
                flush=True,
            )
            due = now + _SECONDS
        yield item


def _duration(seconds):
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
