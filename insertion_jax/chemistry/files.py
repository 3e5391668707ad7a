"""People's files of molecules, linkers, fragments. No line is dropped without a word."""

import csv
import gzip
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from insertion_jax.chemistry import (
    fragment_constraints,
    fragments,
    molecules,
    workers,
)
from insertion_jax.chemistry.fragments import Cut
from insertion_jax.types import InputError

_SMILES_HEADERS = ("smiles", "canonical_smiles", "molecule", "mol")
_LINKER_HEADERS = ("molecule", "linker", "fragments")
_MOLECULE_HEADERS = ("molecule", "smiles")
_PROBLEM_HEADERS = (*_MOLECULE_HEADERS, "fragments", *fragment_constraints.TASKS)
_NUM_SHOWN = 5


class BadLine(NamedTuple):
    """A line that could not be used.

    Attributes:
      number: from 1, as an editor counts.
      text: the line.
      reason: one sentence.
    """

    number: int
    text: str
    reason: str


class Lines(NamedTuple):
    """What a file holds.

    Attributes:
      values: of the good lines, in order.
      numbers: of the good lines, from 1.
      bad: the bad ones.
    """

    values: list[Any]
    numbers: list[int]
    bad: list[BadLine]


def report(lines: Lines, path: str | os.PathLike) -> str:
    """What became of a file, in a few lines of text.

    Args:
      lines: of the file.
      path: of the file.

    Returns:
      How many lines are good, and numbers and reasons of the first bad ones.
    """
    total = len(lines.values) + len(lines.bad)
    text = [f"{path}: {len(lines.values):,} of {total:,} lines can be used."]
    for line in lines.bad[:_NUM_SHOWN]:
        text.append(f"  line {line.number}: {line.reason}")
    if len(lines.bad) > _NUM_SHOWN:
        numbers = ", ".join(str(line.number) for line in lines.bad[_NUM_SHOWN:])
        text.append(f"  and lines {numbers}")
    return "\n".join(text)


def read_molecules(
    path: str | os.PathLike,
    *,
    column: str | None = None,
    num_workers: int | None = None,
    progress: bool = False,
) -> Lines:
    """Reads a file of molecules; 0.2 ms a line.

    Args:
      path: of a `.csv` file, whose column "smiles" is read, else the first one; or of
        any other text, one SMILES a line, with or without a name behind it. Blank lines
        and those that begin with # do not count. A file that ends in `.gz` is unpacked.
      column: the header of the column with the SMILES.
      num_workers: as in `workers.run`.
      progress: show how far it is.

    Returns:
      Canonical SMILES. A molecule may come more than once.

    Raises:
      InputError: the file cannot be read, has no such column, or no valid molecule.
    """
    rows = _rows(path, _SMILES_HEADERS if column is None else (column,))
    if column is not None and rows.header is None:
        raise InputError(f"{path} has no column {column!r} in its first line.")
    texts = [cells[0] for _, cells, _ in rows.lines]
    found = workers.run(
        molecules.canonical,
        texts,
        title="reading molecules",
        num_workers=num_workers,
        progress=progress,
    )

    def value(i):
        if found[i] is None:
            raise InputError(f"{texts[i]!r} is not a molecule that rdkit can read.")
        return found[i]

    return _sorted_out(rows, value, path, "valid molecule")


def read_linkers(path: str | os.PathLike) -> Lines:
    """Reads a file of molecules with linkers and fragments; 2 ms a line.

    Args:
      path: of a file with three columns, separated by commas, tabs or blanks: the
        molecule, its linker with `[*:1]` and `[*:2]` (or `*` twice), and its two
        fragments, separated by a dot. A first line "molecule,linker,fragments" may
        give them another order.

    Returns:
      `fragments.Cut`s whose strings give the molecule back.

    Raises:
      InputError: the file cannot be read or has no line that can be used.
    """
    rows = _rows(path, _LINKER_HEADERS)
    return _sorted_out(rows, lambda i: _cut(rows.lines[i][1]), path, "linker")


def read_fragments(path: str | os.PathLike) -> Lines:
    """Reads a file of fragment pairs, such as `c1ccccc1[*:1].CC(=O)N[*:2]`, one a line.

    Args:
      path: of a text, or of a `.csv` file with a column "fragments".

    Returns:
      Pairs, as of `fragments.parse_fragments`.

    Raises:
      InputError: the file cannot be read or has no line that can be used.
    """
    rows = _rows(path, ("fragments",))
    return _sorted_out(
        rows,
        lambda i: fragments.parse_fragments(rows.lines[i][1][0]),
        path,
        "pair of fragments",
    )


def read_problems(path: str | os.PathLike) -> Lines:
    """Reads a file of fragments around which to write molecules.

    Args:
      path: of a text with a fragment a line, or two with a dot between them, and behind
        it, if it is known, the molecule that they are of; or of a `.csv` file, its first
        line naming the columns: "fragments", or any of `fragment_constraints.TASKS`,
        whose cells may be empty, and perhaps "molecule" or "smiles".

    Returns:
      A tuple of `fragment_constraints.Problem`s for each line.

    Raises:
      InputError: the file cannot be read or has no line that can be used.
    """
    rows = _rows(path, _PROBLEM_HEADERS)
    names = None
    if rows.header is not None:
        names = [name for name in _PROBLEM_HEADERS if name in rows.header]
    return _sorted_out(
        rows, lambda i: _problems(names, rows.lines[i][1]), path, "fragment"
    )


def _problems(names, cells):
    if names is None:
        names = ("fragments", "molecule")
    elif len(cells) < len(names):
        raise InputError("The line has fewer columns than the first one.")
    cells = {name: cell for name, cell in zip(names, cells, strict=False) if cell}
    molecule = next((cells[name] for name in _MOLECULE_HEADERS if name in cells), None)
    found = tuple(
        fragment_constraints.problem(
            cell, molecule, None if name == "fragments" else name
        )
        for name, cell in cells.items()
        if name not in _MOLECULE_HEADERS
    )
    if not found:
        raise InputError("The line has no fragment.")
    return found


class _Rows(NamedTuple):
    header: tuple[str, ...] | None
    lines: list[tuple[int, list[str], str]]


def _rows(path, headers: Sequence[str]) -> _Rows:
    """Number, wanted cells and text of each line of a file.

    If the first line has one of the headers it is none of them; then each header found
    names a column. Else columns are taken in order.
    """
    path = pathlib.Path(path)
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path} cannot be read: {reason}.") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} cannot be read: it is not text in UTF-8 (byte {error.start})."
        ) from error
    is_csv = path.name.removesuffix(".gz").endswith(".csv")
    lines = [
        (number, _cells(line, is_csv), line)
        for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1)
        if line.strip() and not line.startswith("#")
    ]
    names = [cell.lower() for cell in lines[0][1]] if lines else []
    found = [
        names.index(header.lower()) for header in headers if header.lower() in names
    ]
    if not found:
        return _Rows(None, lines)
    picked = [
        (number, [cells[i] for i in found if i < len(cells)] or [""], line)
        for number, cells, line in lines[1:]
    ]
    return _Rows(tuple(names), picked)


def _cells(line, is_csv):
    if is_csv:
        return [cell.strip() for cell in next(csv.reader([line]))]
    return line.replace(",", " ").split()


def _sorted_out(rows, value: Callable[[int], Any], path, what) -> Lines:
    lines = Lines([], [], [])
    for i, (number, _, text) in enumerate(rows.lines):
        try:
            lines.values.append(value(i))
            lines.numbers.append(number)
        except InputError as error:
            lines.bad.append(BadLine(number, text, str(error)))
    if not lines.values:
        reason = (
            f" Line {lines.bad[0].number}: {lines.bad[0].reason}" if lines.bad else ""
        )
        raise InputError(f"{path} has no {what}.{reason}")
    return lines


def _cut(cells):
    if len(cells) < 3:
        raise InputError(
            f"The line has {len(cells)} of the three columns molecule, linker, fragments."
        )
    molecule, linker, pair = cells[:3]
    flat = molecules.flat(molecule)
    if flat is None:
        raise InputError(f"{molecule!r} is not a molecule that rdkit can read.")
    first_error = None
    for numbered in fragments.numbered_linkers(linker):
        cut = Cut(flat, numbered, fragments.parse_fragments(pair))
        try:
            fragments.linker_strings(cut)
            return cut
        except InputError as error:
            first_error = first_error or error
    raise first_error
