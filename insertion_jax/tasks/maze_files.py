"""Mazes as text, one line a row: `#` is wall, a space is free."""

import pathlib

import numpy as np

from insertion_jax.types import InputError

WALL, FREE = "#", " "


def read(path: str | pathlib.Path) -> np.ndarray:
    """Reads a maze file.

    Args:
      path: of a text file in UTF-8.

    Returns:
      bool[H, W], true at walls.

    Raises:
      InputError: the file cannot be read or does not hold a maze.
    """
    try:
        text = pathlib.Path(path).expanduser().read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            f"The maze file {str(path)!r} cannot be read ({error.strerror})."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"The maze file {str(path)!r} is no text: a maze is written with # for "
            "wall and spaces for free cells."
        ) from error
    return parse(text)


def parse(text: str) -> np.ndarray:
    """Reads a maze as a person writes it.

    Any shape will do, with or without a border of walls. Empty lines before and
    after the maze don't count.

    Args:
      text: a line a row, all of one length, of `#` and spaces.

    Returns:
      bool[H, W], true at walls.

    Raises:
      InputError: names the first line and column that are wrong.
    """
    lines = text.splitlines()
    while lines and not lines[-1]:
        lines.pop()
    skipped = 0
    while lines and not lines[0]:
        lines.pop(0)
        skipped += 1
    if not lines:
        raise InputError("The maze is empty: write a line a row, of # and spaces.")
    width = len(lines[0])
    for number, line in enumerate(lines, start=1 + skipped):
        for column, character in enumerate(line, start=1):
            if character not in (WALL, FREE):
                raise InputError(
                    f"The maze has {character!r} in line {number}, column {column}; "
                    "only # (wall) and spaces (free) are allowed."
                )
        if len(line) != width:
            raise InputError(
                f"Line {number} of the maze has {len(line)} characters and line "
                f"{1 + skipped} has {width}: all must be of one length (an editor may "
                "have cut off spaces at the end)."
            )
    walls = np.array([[character == WALL for character in line] for line in lines])
    if walls.all():
        raise InputError("The maze has no free cell: each is a #.")
    return walls


def as_text(walls: np.ndarray) -> str:
    """Writes a maze as `parse` reads it.

    Args:
      walls: bool[H, W], true at walls.

    Returns:
      The lines, each ended by a newline.
    """
    rows = ("".join(WALL if wall else FREE for wall in row) for row in walls)
    return "".join(f"{row}\n" for row in rows)
