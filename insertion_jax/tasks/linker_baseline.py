"""What the most frequent training linkers reach, without a model."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from insertion_jax.chemistry import (
    fragments,
    linker_scores,
    smiles,
    survival,
    workers,
)
from insertion_jax.chemistry.linker_scores import Pair
from insertion_jax.types import Batch, Score


def scores(
    examples: Batch,
    *,
    vocabulary: smiles.Vocabulary,
    counts: Mapping[str, int],
    num_samples: Sequence[int],
    ranks: Sequence[int] = (125,),
    num_workers: int | None = None,
    progress: bool = False,
) -> dict[str, Score]:
    """Gives each pair of fragments the most frequent linkers; 3 ms a sample.

    Args:
      examples: N rows of the linker task, a pair each.
      vocabulary: of the tokens.
      counts: how often each linker comes in training, most frequent first.
      num_samples: of each pair, both ways round counted.
      ranks: as in `linker_scores.pair_scores`.
      num_workers: as in `workers.run`.
      progress: show how far it is.

    Returns:
      Those of `linker_scores.pair_scores`, of N numbers.
    """
    asked = [
        (_pieces(np.asarray(tokens)[: int(length)], anchored, closed, vocabulary), num)
        for tokens, length, anchored, closed, num in zip(
            examples.tokens,
            examples.length,
            np.asarray(examples.anchored),
            np.asarray(examples.closed),
            num_samples,
            strict=True,
        )
    ]
    # A linker of low rank is never tried, and all of them need not be sent.
    tried = dict(list(counts.items())[: max(num_samples, default=0)])
    pairs = workers.run(
        functools.partial(
            _pair,
            tried=tried,
            ranks=linker_scores.ranks(counts),
        ),
        asked,
        title="most frequent linkers",
        num_workers=num_workers,
        progress=progress,
    )
    return linker_scores.pair_scores(pairs, counts, ranks=ranks)


def _pieces(ids, anchored, closed, vocabulary):
    first = int(np.argmin(closed))
    middle = len(ids) - (int(anchored.sum()) - first)
    return tuple(map(vocabulary.decode, (ids[:first], ids[first:middle], ids[middle:])))


def _pair(asked, *, tried, ranks):
    pieces, num_samples = asked
    first, _, second = pieces
    target = survival.examine(*pieces)
    numbered = fragments.parse_fragments(f"{first}*.*{second}")
    samples = linker_scores.frequent_linkers(tried, numbered, num_samples)
    return Pair(numbered, samples, target.molecule, ranks.get(target.linker))
