"""Generated molecules as text, tables and pictures."""

import functools
import pathlib
from collections.abc import Callable, Container, Mapping, Sequence
from os import PathLike

import numpy as np

from insertion_jax.chemistry import molecules, pictures, safe, smiles
from insertion_jax.tasks import insertion_order_pictures, molecule_tables
from insertion_jax.types import Batch, InputError

_ENOUGH_FOR_INTERVALS = 10


def smiles_of(text: str, notation: str) -> str:
    """The SMILES that a generated string stands for; "" if it has no such thing.

    Args:
      text: generated.
      notation: "smiles" or "safe"; SAFE is decoded strictly, nothing is repaired.
    """
    if notation == "smiles":
        return text
    try:
        return safe.decode(text)
    except InputError:
        return ""


def texts_of(
    tokens: np.ndarray, length: np.ndarray, vocabulary: smiles.Vocabulary
) -> list[str]:
    """Generated strings, from int[N, L] tokens and int[N] lengths."""
    return [
        vocabulary.decode(row[: int(size)])
        for row, size in zip(tokens, length, strict=True)
    ]


def draw(
    examples: Batch,
    tokens: np.ndarray,
    length: np.ndarray,
    step: np.ndarray,
    path: str | PathLike,
    titles: Sequence[str] = (),
    *,
    vocabulary: smiles.Vocabulary,
    notation: str,
) -> None:
    """Draws generated molecules, each above its string coloured by step.

    Args:
      examples: N rows, of which nothing is read.
      tokens: int[N, L].
      length: int[N].
      step: int[N, L], the step at which each token was inserted; -1 at anchors.
      path: of the file to write; its ending says which format.
      titles: N of them, or none.
      vocabulary: of the tokens.
      notation: "smiles" or "safe".
    """
    del examples
    pictures.draw(
        written(tokens, length, step, vocabulary=vocabulary, notation=notation),
        path,
        titles,
    )


def written(
    tokens: np.ndarray,
    length: np.ndarray,
    step: np.ndarray,
    *,
    vocabulary: smiles.Vocabulary,
    notation: str,
) -> list[pictures.Written]:
    """Generated sequences as `pictures` shows them.

    Args:
      tokens: int[N, L].
      length: int[N].
      step: int[N, L].
      vocabulary: of the tokens.
      notation: "smiles" or "safe".
    """
    return [
        pictures.Written(
            smiles_of(vocabulary.decode(row[: int(size)]), notation),
            [vocabulary.tokens[int(i)] for i in row[: int(size)]],
            np.asarray(steps)[: int(size)].tolist(),
        )
        for row, size, steps in zip(tokens, length, step, strict=True)
    ]


def write(
    examples: Batch,
    tokens: np.ndarray,
    length: np.ndarray,
    step: np.ndarray,
    columns: Mapping[str, np.ndarray],
    folder: pathlib.Path,
    *,
    vocabulary: smiles.Vocabulary,
    notation: str,
    train: Callable[[], Container[str] | None],
) -> list[pathlib.Path]:
    """Writes generated molecules, and when which kind of token came.

    Args:
      examples: N rows, of which nothing is read.
      tokens: int[N, L].
      length: int[N].
      step: int[N, L].
      columns: further numbers of each sample, float[N] by name.
      folder: where to write.
      vocabulary: of the tokens.
      notation: "smiles" or "safe".
      train: as in `score`.

    Returns:
      `samples.smi`, `samples.csv`, `order.csv`, and from 10 samples on `order.png`.
    """
    del examples
    rows = written(tokens, length, step, vocabulary=vocabulary, notation=notation)
    columns = {**columns, "generated": ["".join(row.tokens) for row in rows]}
    paths = molecule_tables.write(
        [row.molecule for row in rows], columns, folder, train=train()
    )
    return paths + write_order(rows, folder)


def write_order(
    rows: Sequence[pictures.Written], folder: pathlib.Path
) -> list[pathlib.Path]:
    """Writes `order.csv`, and `order.png` if there are enough molecules for intervals.

    Args:
      rows: generated sequences.
      folder: where to write.
    """
    paths = [folder / "order.csv", folder / "order.png"]
    order = molecule_tables.write_order(
        [row.tokens for row in rows], [row.steps for row in rows], paths[0]
    )
    paths[1].unlink(missing_ok=True)
    if len(rows) < _ENOUGH_FOR_INTERVALS:
        return paths[:1]
    insertion_order_pictures.draw(order, paths[1])
    return paths


def more_pictures(
    vocabulary: smiles.Vocabulary, notation: str
) -> dict[str, Callable[..., bool]]:
    """How the longest molecule was written: its canvases, and as an animation.

    Args:
      vocabulary: of the tokens.
      notation: "smiles" or "safe".
    """

    def show(drawn, examples, tokens, length, step, path):
        del examples
        rows = written(tokens, length, step, vocabulary=vocabulary, notation=notation)
        valid = [row for row in rows if molecules.parse(row.molecule)]
        longest = max(valid or rows, key=lambda row: len(row.tokens))
        if longest.tokens:
            drawn(longest, path)
        return bool(longest.tokens)

    return {
        "canvases.png": functools.partial(show, pictures.draw_canvases),
        "canvases.gif": functools.partial(show, pictures.animate),
    }
