"""Is a generated sequence a way through the maze, and where does it fail first?

Success is the criterion of the Insertion Process' maze benchmark (arXiv 2606.02133) as
a public reconstruction words it: every cell is free, every move leads to a cell beside
the last one, and the subgoals come in order, with any cells between them.
"""

import numpy as np

from insertion_jax.tasks import sequence_scores
from insertion_jax.tasks.maze_paths import Maze
from insertion_jax.types import NUM_SPECIALS, Batch, Score


def score(
    examples: Batch,
    tokens: np.ndarray,
    length: np.ndarray,
    stopped: np.ndarray,
    *,
    maze: Maze,
) -> dict[str, Score]:
    """Scores generated paths.

    Args:
      examples: N rows, the problems and their answers.
      tokens: int[N, L], what was generated.
      length: int[N], how much of it counts.
      stopped: bool[N], whether the model ended the sequence by itself.
      maze: in which the paths lie.

    Returns:
      Scores of N samples; what no sample has a value for is left out. `success` is
      the headline. `exact_match`: the reference path, cell for cell.
      `moves_valid`: all cells are free and all moves possible. `subgoals_visited`:
      share of the subgoals that come in order. `shortest`: a success, and no path
      is shorter. `length_over_shortest`: of the successes, cells written over cells
      needed. `first_failure`: position of the first wrong cell in what is no
      success, its length if all moves are valid but a subgoal is missing.
      `termination`: the model stopped by itself. `length`: of what was generated.
      `success_with_K_subgoals`: success where there are K subgoals.
    """
    tokens, length = np.asarray(tokens), np.asarray(length)
    subgoals, num_subgoals = subgoals_of(examples)
    failure = first_invalid(tokens, length, maze)
    visited = num_visited(tokens, length, subgoals, num_subgoals)
    moves_valid = failure < 0
    success = moves_valid & (visited == num_subgoals)
    needed = shortest_length(subgoals, num_subgoals, maze)
    reference = np.asarray(examples.tokens), np.asarray(examples.length)
    scores = {
        "success": _rate(success),
        "exact_match": _rate(sequence_scores.exact_match(tokens, length, *reference)),
        "moves_valid": _rate(moves_valid),
        "subgoals_visited": _ratio(visited, num_subgoals),
        "shortest": _rate(success & (length == needed)),
        "length_over_shortest": _ratio(length, needed, among=success),
        "first_failure": _ratio(
            np.where(moves_valid, length, failure), 1, among=~success
        ),
        "termination": _rate(stopped),
        "length": _ratio(length, 1),
    }
    for count in np.unique(num_subgoals).tolist():
        scores[f"success_with_{count}_subgoals"] = _rate(
            success, among=num_subgoals == count
        )
    return {name: value for name, value in scores.items() if value.count.any()}


def _rate(values, among=True):
    """A yes or no of each sample, counted among some of them."""
    return _ratio(values, 1, among)._replace(is_rate=True)


def _ratio(total, count, among=True):
    total, count, among = np.broadcast_arrays(total, count, among)
    return Score(
        np.where(among, total, 0).astype(np.float64),
        np.where(among, count, 0).astype(np.float64),
    )


def subgoals_of(examples: Batch) -> tuple[np.ndarray, np.ndarray]:
    """The subgoals of each problem, anchored or in the prompt.

    Args:
      examples: N rows.

    Returns:
      `(cells, count)`: int[N, K], of which the first `count[n]` of row n are its
      subgoals, and int[N].
    """
    if np.asarray(examples.anchored).any():
        tokens, mask = np.asarray(examples.tokens), np.asarray(examples.anchored)
    else:
        tokens, mask = np.asarray(examples.prompt), np.asarray(examples.prompt_mask)
    count = mask.sum(axis=1)
    first = np.argsort(~mask, axis=1, kind="stable")[:, : count.max(initial=0)]
    return np.take_along_axis(tokens, first, axis=1) - NUM_SPECIALS, count


def first_invalid(tokens: np.ndarray, length: np.ndarray, maze: Maze) -> np.ndarray:
    """Where a sequence stops being a walk through free cells.

    Args:
      tokens: int[N, L].
      length: int[N].
      maze: in which to walk.

    Returns:
      int64[N]: the position of the first token that is no free cell, or no neighbour
      of the one before it; 0 for an empty sequence; -1 where there is none.
    """
    cells = tokens - NUM_SPECIALS
    size = maze.walls.size
    known = (cells >= 0) & (cells < size)
    wrong = ~known | maze.walls.ravel()[np.clip(cells, 0, size - 1)]
    row, column = np.divmod(cells, maze.width)
    moved = abs(np.diff(row, axis=1)) + abs(np.diff(column, axis=1))
    wrong[:, 1:] |= moved != 1
    wrong &= np.arange(tokens.shape[1]) < length[:, None]
    found = np.where(wrong.any(axis=1), wrong.argmax(axis=1), -1)
    return np.where(length == 0, 0, found)


def num_visited(
    tokens: np.ndarray,
    length: np.ndarray,
    subgoals: np.ndarray,
    num_subgoals: np.ndarray,
) -> np.ndarray:
    """How many subgoals a sequence visits, in their order.

    Args:
      tokens: int[N, L].
      length: int[N].
      subgoals: int[N, K], cells.
      num_subgoals: int[N], how many of them count.

    Returns:
      int64[N]: the largest k such that the first k subgoals are a subsequence.
    """
    rows = np.arange(len(tokens))
    # One column more, for those who have visited all.
    wanted = np.pad(subgoals, ((0, 0), (0, 1)))
    visited = np.zeros(len(tokens), np.int64)
    for i in range(tokens.shape[1]):
        here = tokens[:, i] - NUM_SPECIALS == wanted[rows, visited]
        visited += here & (visited < num_subgoals) & (i < length)
    return visited


def shortest_length(
    subgoals: np.ndarray, num_subgoals: np.ndarray, maze: Maze
) -> np.ndarray:
    """Cells of the shortest path through the subgoals, in their order.

    Args:
      subgoals: int[N, K], cells.
      num_subgoals: int[N], how many of them count.
      maze: in which they lie; a path joins each with the next.

    Returns:
      int64[N].
    """
    used = np.arange(subgoals.shape[1]) < num_subgoals[:, None]
    nodes = maze.node_of[np.where(used, subgoals, 0)]
    moves = maze.distance[nodes[:, :-1], nodes[:, 1:]].astype(np.int64)
    return 1 + np.where(used[:, 1:], moves, 0).sum(axis=1)
