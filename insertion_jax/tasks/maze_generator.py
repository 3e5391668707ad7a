"""Mazes on a grid: perfect, imperfect and braided.

A maze is a bool array, true at walls. Its border is wall, and one moves between free
cells that share an edge. The families are those of the Insertion Process (arXiv
2606.02133), which tells neither its generator nor its seeds; the recipe, draw by
draw, is that of a public reconstruction. Python's generator makes the draws: its
stream is the same in every version.
"""

import random

import numpy as np

from insertion_jax.types import InputError

FAMILIES = ("perfect", "imperfect", "braided")

# Up, down, left, right: the order in which neighbours are looked at.
DIRECTIONS = ((-1, 0), (1, 0), (0, -1), (0, 1))

_OPENED_WALLS = 0.3  # of an imperfect maze's candidates
_OPENED_DEAD_ENDS = 1.0  # of a braided maze's dead ends


def generate(family: str, half_side: int, seed: int) -> np.ndarray:
    """Makes the maze of a family and a seed.

    Args:
      family: "perfect" (a tree: one simple path between any two cells), "imperfect"
        (some walls of the perfect maze opened) or "braided" (its dead ends opened).
      half_side: m >= 2; the grid has a side of 2 m + 1 cells.
      seed: of the perfect maze; the one after it decides which walls are opened.

    Returns:
      bool[2 m + 1, 2 m + 1], true at walls.

    Raises:
      InputError: there is no such family.
    """
    if family not in FAMILIES:
        raise InputError(
            f"Unknown family {family!r}: the families are {', '.join(FAMILIES)}."
        )
    walls = perfect(half_side, seed)
    if family == "imperfect":
        return imperfect(walls, seed + 1)
    if family == "braided":
        return braided(walls, seed + 1)
    return walls


def perfect(half_side: int, seed: int) -> np.ndarray:
    """Makes a perfect maze by recursive division.

    An empty room is split by a wall with one doorway, then each half again. Walls
    stand on even rows and columns of the grid and doorways on odd ones, so no wall
    ever meets a doorway. The free cells form a tree of 2 m^2 - 1 cells.

    Args:
      half_side: m >= 2.
      seed: of Python's generator.

    Returns:
      bool[2 m + 1, 2 m + 1].
    """
    side = 2 * half_side + 1
    walls = np.ones((side, side), bool)
    interior = walls[1:-1, 1:-1]
    interior[:] = False
    _divide(interior, random.Random(seed))
    return walls


def _divide(room: np.ndarray, rng: random.Random) -> None:
    """Splits a free room, a view of the grid, until only corridors are left."""
    height, width = room.shape
    if height <= 2 or width <= 2:
        return
    # The wall stands across the longer side; it is a column of this view.
    view = room.T if width < height else room
    wall = rng.randrange(1, view.shape[1] - 1, 2)
    doorway = rng.randrange(0, view.shape[0], 2)
    view[:, wall] = True
    view[doorway, wall] = False
    if width < height:
        halves = room[:wall], room[wall + 1 :]
    else:
        halves = room[:, :wall], room[:, wall + 1 :]
    for half in halves:
        _divide(half, rng)


def imperfect(walls: np.ndarray, seed: int) -> np.ndarray:
    """Opens 30 % of the walls that stand between two free cells of a line.

    Args:
      walls: bool[H, W], a perfect maze.
      seed: of Python's generator.

    Returns:
      bool[H, W].
    """
    free = ~walls
    between = np.zeros_like(walls)
    between[1:-1, 1:-1] = (free[:-2, 1:-1] & free[2:, 1:-1]) | (
        free[1:-1, :-2] & free[1:-1, 2:]
    )
    candidates = np.argwhere(walls & between).tolist()
    opened = random.Random(seed).sample(
        candidates, int(_OPENED_WALLS * len(candidates))
    )
    result = walls.copy()
    for row, column in opened:
        result[row, column] = False
    return result


def braided(walls: np.ndarray, seed: int) -> np.ndarray:
    """Opens a wall at each dead end, where a free cell lies behind the wall.

    A dead end may get its second exit from another one that was opened before it;
    it is opened all the same, if a wall is left to open.

    Args:
      walls: bool[H, W], a perfect maze with its border of walls.
      seed: of Python's generator.

    Returns:
      bool[H, W].
    """
    rng = random.Random(seed)
    result = walls.copy()
    dead_ends = [
        (row, column)
        for row, column in np.argwhere(~walls).tolist()
        if sum(not walls[row + i, column + j] for i, j in DIRECTIONS) == 1
    ]
    rng.shuffle(dead_ends)
    for row, column in dead_ends[: int(_OPENED_DEAD_ENDS * len(dead_ends))]:
        candidates = [
            (row + i, column + j)
            for i, j in DIRECTIONS
            if result[row + i, column + j]
            and _is_free(result, row + 2 * i, column + 2 * j)
        ]
        if candidates:
            result[rng.choice(candidates)] = False
    return result


def _is_free(walls: np.ndarray, row: int, column: int) -> bool:
    """Whether a cell lies on the grid and is free."""
    height, width = walls.shape
    return 0 <= row < height and 0 <= column < width and not walls[row, column]
