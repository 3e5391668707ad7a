"""Cells, subgoals and paths as text: a cell is row,column, counted from 0."""

import itertools
import re

import numpy as np

from insertion_jax.tasks.maze_examples import MazeExample
from insertion_jax.tasks.maze_paths import Maze
from insertion_jax.types import NUM_SPECIALS, InputError

_SPECIALS = ("<pad>", "<bos>", "<eos>")
_SYNTAX = '"1,1 5,7 3,1"'


def parse(text: str, maze: Maze, *, max_subgoals: int, max_length: int) -> MazeExample:
    """Reads subgoals that a person typed, such as "1,1 5,7 3,1".

    Args:
      text: cells in the order in which to visit them, separated by blanks.
      maze: in which they lie.
      max_subgoals: as many are allowed.
      max_length: of a path, in cells.

    Returns:
      The subgoals, with a shortest path through them.

    Raises:
      InputError: if the syntax is another; if there are fewer than two subgoals or too
        many; if one lies outside the maze or in a wall, or equals the one before it;
        if no path joins two of them, or the shortest path is too long.
    """
    if not re.fullmatch(r"\s*(\d+,\d+\s+)*\d+,\d+\s*", text, re.ASCII):
        raise InputError(
            f"Cannot read the prompt {text!r}: write the subgoals as row,column "
            f"(counted from 0) like {_SYNTAX}."
        )
    subgoals = [tuple(map(int, cell.split(","))) for cell in text.split()]
    if not 2 <= len(subgoals) <= max_subgoals:
        raise InputError(
            f"The number of subgoals is {len(subgoals)}; 2 to {max_subgoals} are "
            "allowed, start and goal included."
        )
    height, width = maze.walls.shape
    for row, column in subgoals:
        if row >= height or column >= width:
            raise InputError(
                f"The subgoal {row},{column} lies outside the maze: rows are 0 to "
                f"{height - 1}, columns 0 to {width - 1}."
            )
        if maze.walls[row, column]:
            raise InputError(f"The subgoal {row},{column} lies in a wall.")
    nodes = [int(maze.node_of[row * width + column]) for row, column in subgoals]
    texts = map(_text_of_cell, subgoals)
    named = zip(nodes, texts, strict=True)
    for (node, here), (following, there) in itertools.pairwise(named):
        if node == following:
            raise InputError(f"The subgoal {here} is given twice in a row.")
        if maze.component[node] != maze.component[following]:
            raise InputError(f"No path joins the subgoals {here} and {there}.")
    path, anchors = maze.join(nodes)
    if len(path) > max_length:
        raise InputError(
            f"The shortest path through the subgoals has {len(path)} cells; at most "
            f"{max_length} are allowed."
        )
    return MazeExample(tuple(maze.cells[path].tolist()), tuple(anchors))


def format_path(tokens: np.ndarray, length: int, *, maze: Maze) -> str:
    """Writes a generated path like "1,1 1,2 2,2", whatever its tokens are.

    Args:
      tokens: int[L].
      length: how many of them count.
      maze: in which the path lies.

    Returns:
      The cells, separated by blanks; what is no cell is named, too.
    """
    names = []
    for token in np.asarray(tokens)[: int(length)].tolist():
        cell = token - NUM_SPECIALS
        if 0 <= cell < maze.walls.size:
            names.append(_text_of_cell(divmod(cell, maze.width)))
        else:
            special = 0 <= token < NUM_SPECIALS
            names.append(_SPECIALS[token] if special else f"<{token}>")
    return " ".join(names)


def vocabulary(maze: Maze) -> tuple[str, ...]:
    """The text of each token: the specials, then all cells, walls too."""
    return _SPECIALS + tuple(map(_text_of_cell, np.ndindex(maze.walls.shape)))


def _text_of_cell(cell):
    return f"{cell[0]},{cell[1]}"
