"""Prepared tokens, cut to a model's canvas and put into its vocabulary.

What is prepared holds all lengths and all tokens, so that models of another length or
vocabulary share it.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from insertion_jax.chemistry import smiles
from insertion_jax.types import NUM_SPECIALS

# Arrays of N rows by name, "tokens" int32[N, L] and "lengths" int32[N] among them.
Table = Mapping[str, np.ndarray]


class Fitted(NamedTuple):
    """What a model can be given.

    Attributes:
      vocabulary: of the tokens.
      max_length: L, of the longest row.
      tables: by split; memory maps stay such where nothing had to be changed.
      notes: what was left out, a sentence each.
    """

    vocabulary: smiles.Vocabulary
    max_length: int
    tables: dict[str, Table]
    notes: list[str]


def fit(
    tables: Mapping[str, Table],
    known: smiles.Vocabulary,
    *,
    max_length: int | None,
    vocabulary: str | None,
    what: str,
) -> Fitted:
    """Leaves out rows that are too long, and gives tokens other ids.

    Args:
      tables: by split.
      known: vocabulary of the tables.
      max_length: tokens at most; None for any number.
      vocabulary: content tokens, separated by blanks, to use in place of `known`; None
        for those that the rows have.
      what: a row is called, in notes.

    Raises:
      InputError: a row has a token that `vocabulary` lacks.
    """
    notes, result = [], {}
    for split, table in tables.items():
        lengths = np.asarray(table["lengths"])
        fits = lengths <= (lengths.max(initial=0) if max_length is None else max_length)
        if not fits.all():
            notes.append(
                f"{int((~fits).sum()):,} of {len(fits):,} {what} to {split} have more "
                f"than {max_length} tokens and were left out."
            )
            table = {name: array[fits] for name, array in table.items()}
        result[split] = dict(table)
    size = max(int(table["lengths"].max(initial=0)) for table in result.values())
    for table in result.values():
        table["tokens"] = table["tokens"][:, :size]
    if vocabulary is not None:
        wanted = smiles.vocabulary(vocabulary.split())
    else:
        wanted = _in_use(result, known) if notes else known
    if wanted.tokens != known.tokens:
        for table in result.values():
            table["tokens"] = _renamed(table, known, wanted)
    return Fitted(wanted, size, result, notes)


def _in_use(tables, known):
    # Marked, as sorting tens of millions of tokens takes ten seconds; by columns, as
    # NumPy makes a wider copy of what it is indexed with.
    seen = np.zeros(len(known.tokens), bool)
    for table in tables.values():
        for column in table["tokens"].T:
            seen[column] = True
    ids = np.flatnonzero(seen)
    return smiles.vocabulary(known.tokens[i] for i in ids if i >= NUM_SPECIALS)


def _renamed(table, known, wanted):
    ids = np.array([wanted.ids.get(token, -1) for token in known.tokens], np.int32)
    tokens = ids[table["tokens"]]
    unknown = (tokens < 0).any(axis=1)
    if unknown.any():
        row = int(unknown.argmax())
        old = table["tokens"][row][: int(table["lengths"][row])]
        wanted.encode([known.tokens[int(i)] for i in old])  # says what is wrong
    return tokens
