"""Samples of the linker task: cut into pieces, grouped by fragments, written."""

import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from insertion_jax.chemistry import smiles, survival
from insertion_jax.chemistry.survival import Linked
from insertion_jax.tasks import molecule_samples, molecule_tables
from insertion_jax.types import Batch


def rows_of(
    examples: Batch,
    tokens: np.ndarray,
    length: np.ndarray,
    vocabulary: smiles.Vocabulary,
) -> list["Row"]:
    """Samples with the examples that they answer, from N rows of each."""
    return [
        Row(Batch(*row), sample, int(size), vocabulary)
        for row, sample, size in zip(
            zip(*examples, strict=True), np.asarray(tokens), length, strict=True
        )
    ]


def groups_of(rows: Sequence["Row"]) -> list[list[int]]:
    """The numbers of the rows of each pair of fragments, wherever they stand."""
    groups = {}
    for i, row in enumerate(rows):
        groups.setdefault((row.first, row.second), []).append(i)
    return list(groups.values())


def write(
    examples: Batch,
    tokens: np.ndarray,
    length: np.ndarray,
    step: np.ndarray,
    columns: Mapping[str, np.ndarray],
    folder: pathlib.Path,
    *,
    vocabulary: smiles.Vocabulary,
    linkers: Callable[[], Mapping[str, int]],
) -> list[pathlib.Path]:
    """Writes joined molecules, and when which kind of token came.

    Args:
      examples: N rows, the fragments.
      tokens: int[N, L].
      length: int[N].
      step: int[N, L].
      columns: further numbers of each sample, float[N] by name.
      folder: where to write.
      vocabulary: of the tokens.
      linkers: gives the counts of the training linkers; empty if they are not known.

    Returns:
      The files of `molecule_tables.write`, with the fragments, whether both survived,
      the linker and how often training has it; and those of
      `molecule_samples.write_order`.
    """
    rows = rows_of(examples, tokens, length, vocabulary)
    found = [row.examine() for row in rows]
    counts = linkers()
    own = {
        "generated": molecule_samples.texts_of(tokens, length, vocabulary),
        "fragments": [".".join(row.pair()) for row in rows],
        "survived": [int(linked.survived) for linked in found],
        "linker": [linked.linker for linked in found],
    }
    if counts:
        own["linker_in_training"] = [
            counts.get(linked.linker, 0) if linked.linker else None for linked in found
        ]
    paths = molecule_tables.write(
        [linked.molecule or "" for linked in found],
        own | dict(columns),
        folder,
        train=None,
    )
    written = molecule_samples.written(
        tokens, length, step, vocabulary=vocabulary, notation="smiles"
    )
    return paths + molecule_samples.write_order(written, folder)


class Row:
    """One sample and the example that it answers, as text.

    Attributes:
      first: string of the first fragment.
      second: string of the second one.
      kept: whether both stand in the sample where they stood.
    """

    def __init__(
        self,
        example: Batch,
        sample: np.ndarray,
        size: int,
        vocabulary: smiles.Vocabulary,
    ):
        """Cuts the target of one row and int[L] tokens, `size` of which count."""
        anchored = np.asarray(example.anchored)
        target = np.asarray(example.tokens)[: int(example.length)]
        num_first = int(np.argmin(example.closed))
        num_second = int(anchored.sum()) - num_first
        sample = sample[:size]

        def cut(ids):
            middle = len(ids) - num_second
            parts = (ids[:num_first], ids[num_first:middle], ids[middle:])
            return tuple(map(vocabulary.decode, parts))

        self.first, self._target, self.second = cut(target)
        parts = cut(sample) if size >= num_first + num_second else ("", "", "")
        self.kept = (parts[0], parts[2]) == (self.first, self.second)
        self._linker = parts[1]

    def examine(self) -> Linked:
        """What became of the fragments in the sample."""
        if not self.kept:
            return Linked(None, valid=False, survived=False, linker=None)
        return survival.examine(self.first, self._linker, self.second)

    def target(self) -> Linked:
        """What the example's own linker makes of them."""
        return survival.examine(self.first, self._target, self.second)

    def pair(self) -> tuple[str, str]:
        """Both fragments as SMILES with `*` at their open ends."""
        return f"{self.first}*", f"*{self.second}"
