"""The pieces of a bracket-SAFE string: in another order, some of them given.

Pieces may stand in any order, and the molecule is the same. Those that are put first
can be given to a model, which then writes the rest: what is asked for with a motif or
a scaffold, which hang together, or with two fragments that a linker is to join, which
do not.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from insertion_jax.chemistry.safe import is_label

_TWO_PARTS_SHARE = 0.5


def split(tokens: Sequence[str]) -> list[list[str]]:
    """The tokens of each piece, without the dots.

    Args:
      tokens: of bracket SAFE.
    """
    groups = itertools.groupby(tokens, ".".__eq__)
    return [list(piece) for is_dot, piece in groups if not is_dot]


def joined(pieces: Sequence[Sequence[str]]) -> list[str]:
    """Pieces as one string, labels numbered anew, from 1, in the order they come.

    Args:
      pieces: tokens of each; equal labels are one bond.

    Returns:
      Tokens, with a dot between two pieces.
    """
    numbers, tokens = {}, []
    for token in itertools.chain.from_iterable((".", *piece) for piece in pieces):
        if is_label(token):
            token = f"<{numbers.setdefault(token, len(numbers) + 1)}>"
        tokens.append(token)
    return tokens[1:]


def rearranged(
    tokens: Sequence[str], rng: np.random.Generator, *, given_share: float
) -> tuple[list[str], int]:
    """Puts pieces in a random order, perhaps with a part that is given first.

    Args:
      tokens: of bracket SAFE.
      rng: draws the part, and the order.
      given_share: how probable it is that a part is given.

    Returns:
      `(tokens, num_given)`, a string of the same molecule and the number of tokens at
      its beginning that are given, the dot behind them among them; 0 for nothing, as
      always where there are no two pieces that are bonded.
    """
    pieces = split(tokens)
    parts = draw_parts(pieces, rng) if rng.random() < given_share else []
    given = [int(i) for part in parts for i in rng.permutation(part)]
    rest = [int(i) for i in rng.permutation(len(pieces)) if i not in given]
    num_given = sum(len(pieces[i]) + 1 for i in given)
    return joined([pieces[i] for i in (*given, *rest)]), num_given


def draw_parts(
    pieces: Sequence[Sequence[str]], rng: np.random.Generator
) -> list[list[int]]:
    """Draws which pieces to give.

    As often as it can be, these are two parts: two bonds are cut, and what is not
    between them is given. Else it is one part that hangs together, of any number of
    pieces but all.

    Args:
      pieces: tokens of each.
      rng: draws.

    Returns:
      Numbers of the pieces of one part or of two; of none if no two are bonded.
    """
    bonds = _bonds(pieces)
    if not bonds:
        return []
    start = int(rng.choice(sorted({i for bond in bonds for i in bond})))
    whole = _reached(start, bonds)
    inside = [bond for bond in bonds if bond[0] in whole]
    if len(inside) > 1 and rng.random() < _TWO_PARTS_SHARE:
        cuts = [inside[i] for i in rng.choice(len(inside), 2, replace=False)]
        return _outer_parts(whole, inside, cuts)
    part, size = [start], int(rng.integers(1, len(whole)))
    while len(part) < size:
        beside = {i for bond in bonds for i in bond if not set(bond).isdisjoint(part)}
        part.append(int(rng.choice(sorted(beside - set(part)))))
    return [part]


def _outer_parts(whole, bonds, cuts):
    """What two cuts of a tree part from the middle."""
    left = [bond for bond in bonds if bond not in cuts]
    parts = {frozenset(_reached(i, left)) for i in whole}
    return sorted(
        sorted(part) for part in parts if not all(part & set(cut) for cut in cuts)
    )


def _bonds(pieces):
    """Pairs of pieces with a label in common. They form trees: rings are not cut."""
    ends = {}
    for i, piece in enumerate(pieces):
        for token in filter(is_label, piece):
            ends.setdefault(token, []).append(i)
    return [tuple(pair) for pair in ends.values() if len(set(pair)) == 2]


def _reached(start, bonds):
    """The pieces that hang together with one."""
    reached, new = set(), {start}
    while new:
        reached |= new
        touching = (bond for bond in bonds if not reached.isdisjoint(bond))
        new = {i for bond in touching for i in bond} - reached
    return reached
