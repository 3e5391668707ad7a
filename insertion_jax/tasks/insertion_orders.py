"""When which tokens of a molecule are written: the skeleton first, or the atoms?

The Insertion Process (arXiv 2606.02133) was found to write parentheses and ring labels
before atoms. Digits are counted on tokens: a bracket atom has digits that are no ring
labels.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from insertion_jax.chemistry.smiles import kind
from insertion_jax.types import Score

KINDS = ("atom", "bond", "ring", "parenthesis", "dot", "attachment")


class Order(NamedTuple):
    """The order of insertion of N molecules.

    Attributes:
      mean_time: of each kind of token that comes, N mean times of insertion, from 0 for
        the first token to 1 for the last; a molecule counts where it has the kind.
      skeleton_first: of each molecule with atoms and other tokens, whether the last of
        the others came before the first atom.
      balanced: of each molecule, whether it has as many opening as closing parentheses
        and each ring label an even number of times.
    """

    mean_time: dict[str, Score]
    skeleton_first: Score
    balanced: Score


def measure(tokens: Sequence[Sequence[str]], steps: Sequence[Sequence[int]]) -> Order:
    """Measures when which kind of token came.

    Args:
      tokens: of N molecules.
      steps: at which each token was inserted; -1 where it stood from the start, which
        does not count.
    """
    times = {name: np.zeros((2, len(tokens))) for name in KINDS}
    first = np.zeros((2, len(tokens)))
    balanced = np.zeros(len(tokens))
    for row, (texts, when) in enumerate(zip(tokens, steps, strict=True)):
        balanced[row] = _is_balanced(texts)
        when = np.asarray(when)
        kinds = np.array(
            [kind(text) if text not in _SPECIALS else "" for text in texts]
        )
        last = max(int(when.max(initial=0)), 1)
        for name in KINDS:
            chosen = (kinds == name) & (when >= 0)
            if chosen.any():
                times[name][:, row] = (when[chosen] / last).mean(), 1
        atoms = (kinds == "atom") & (when >= 0)
        others = (kinds != "atom") & (when >= 0)
        if atoms.any() and others.any():
            first[:, row] = when[others].max() < when[atoms].min(), 1
    return Order(
        {name: Score(*found) for name, found in times.items() if found[1].any()},
        Score(*first, is_rate=True),
        Score(balanced, np.ones(len(tokens)), is_rate=True),
    )


_SPECIALS = {"<pad>", "<bos>", "<eos>"}


def _is_balanced(texts):
    counts = Counter(texts)
    rings = [counts[text] for text in counts if text[0].isdigit() or text[0] == "%"]
    return counts["("] == counts[")"] and not any(count % 2 for count in rings)
