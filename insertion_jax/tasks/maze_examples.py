"""Planning problems in one maze: the tiers, how paths are drawn, the splits.

The hard tier's grid and longest path are those of the Insertion Process (arXiv
2606.02133); easy, medium and the numbers of subgoals are those of a public
reconstruction, and so is the way in which paths and subgoals are drawn. The splits are
not: here each ordered pair of start and goal is given to a split beforehand, so that
no split depends on the size of another one.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from insertion_jax.tasks.maze_paths import Maze
from insertion_jax.types import InputError

SPLITS = ("train", "validation", "test")

_HELD_OUT = 0.1  # of the pairs of start and goal: for validation, and again for test
_NUM_DETOURS = 9  # to try for each pair, beside a shortest path
_BLOCK = 1_024  # attempts to draw subgoals first, made at once
# Attempts without anything new before giving up. Of those that draw subgoals first
# most may be too long; those that draw a path first make ten at once.
_SUBGOALS_FIRST_PATIENCE, _PATH_FIRST_PATIENCE = 10_000, 1_000


class MazeTier(NamedTuple):
    """How large the maze is and how long its paths are.

    Attributes:
      name: as `make` knows it.
      half_side: m; the grid has a side of 2 m + 1 cells.
      min_subgoals: of a path, start and goal included.
      max_subgoals: of a path.
      max_length: of a path, in cells.
      path_first: draw paths before subgoals even where the maze is a tree: a path
        through many random cells of a large tree is too long.
      num_train: size of the training split.
      num_held_out: size of the validation split, and of the test split.
    """

    name: str
    half_side: int
    min_subgoals: int
    max_subgoals: int
    max_length: int
    path_first: bool = False
    num_train: int = 50_000
    num_held_out: int = 5_000


# Tiny is for CPUs. Its mazes have few paths, hence the sizes of its splits.
TIERS = {
    tier.name: tier
    for tier in (
        MazeTier("tiny", 4, 2, 4, 32, num_train=5_000, num_held_out=1_000),
        MazeTier("easy", 10, 2, 4, 128),
        MazeTier("medium", 15, 3, 8, 256),
        MazeTier("hard", 20, 4, 12, 400),
        MazeTier("subgoals2", 20, 2, 2, 400, path_first=True),
        MazeTier("subgoals7", 20, 7, 7, 400, path_first=True),
        MazeTier("subgoals12", 20, 12, 12, 400, path_first=True),
    )
}


class MazeExample(NamedTuple):
    """A path and the subgoals that it was asked to visit.

    Attributes:
      path: the cells from start to goal; a path through a tree may come back.
      anchors: where the subgoals stand in the path, strictly increasing, from its
        first position to its last.
    """

    path: tuple[int, ...]
    anchors: tuple[int, ...]


def split_examples(
    maze: Maze, tier: MazeTier, split: str, *, count: int, seed: int
) -> Iterator[MazeExample]:
    """Yields the examples of a split, the same ones for the same arguments.

    In a tree the subgoals are drawn first and joined by the only paths there are,
    which may come back the way they went. In other mazes a shortest path is drawn
    first, with up to nine detours from it, and subgoals from each.

    Args:
      maze: that all examples share.
      tier: numbers of subgoals and longest path.
      split: one of `SPLITS`. A pair of start and goal occurs in one split only.
      count: of examples; they are the first of a larger count.
      seed: of the maze.

    Yields:
      Examples that differ in their subgoals.

    Raises:
      InputError: there is no such split, or the maze has too few paths.
    """
    if split not in SPLITS:
        raise InputError(
            f"Unknown split {split!r}: the splits are train, validation and test."
        )
    pairs = _pairs(maze, split, seed + 2)
    rng = np.random.RandomState([seed + 2, SPLITS.index(split)])
    if maze.is_forest and not tier.path_first:
        attempts = _subgoals_first(maze, tier, pairs, rng)
        patience = _SUBGOALS_FIRST_PATIENCE
    else:
        attempts = _path_first(maze, tier, pairs, rng)
        patience = _PATH_FIRST_PATIENCE
    seen = set()
    idle = 0
    for found in attempts:
        idle += 1
        for path, anchors in found:
            subgoals = tuple(path[i] for i in anchors)
            if subgoals in seen:
                continue
            seen.add(subgoals)
            idle = 0
            yield MazeExample(tuple(maze.cells[path].tolist()), tuple(anchors))
            if len(seen) == count:
                return
        if idle == patience:
            regions = len(np.unique(maze.component))
            apart = f", whose free cells fall into {regions} regions apart," * (
                regions > 1
            )
            raise InputError(
                f"The maze{apart} seems to have no more than {len(seen)} of the {count} "
                f"examples asked for the {split} split, paths of up to "
                f"{tier.max_length} cells with {tier.min_subgoals} to "
                f"{tier.max_subgoals} subgoals: set task.num_{split} to fewer, or choose "
                "another maze or tier."
            )


def _pairs(maze: Maze, split: str, seed: int) -> np.ndarray:
    """int64[P, 2]: the starts and goals of a split."""
    joined = maze.component[:, None] == maze.component
    np.fill_diagonal(joined, False)
    pairs = np.argwhere(joined)
    num_held_out = int(_HELD_OUT * len(pairs))
    if not num_held_out:
        raise InputError(
            f"The maze has {len(pairs)} pairs of start and goal that a path joins; at "
            f"least {round(1 / _HELD_OUT)} are needed."
        )
    order = np.random.RandomState(seed).permutation(len(pairs))
    cuts = np.split(order, [num_held_out, 2 * num_held_out])
    return pairs[dict(zip(("test", "validation", "train"), cuts, strict=True))[split]]


def _subgoals_first(
    maze: Maze, tier: MazeTier, pairs: np.ndarray, rng: np.random.RandomState
) -> Iterator[list[tuple[list[int], list[int]]]]:
    """Yields, attempt by attempt, a path through random subgoals or nothing."""
    most = tier.max_subgoals
    if maze.num_nodes < most:
        raise InputError(
            f"The maze has {maze.num_nodes} free cells, fewer than the {most} subgoals "
            f"of the {tier.name} tier."
        )
    while True:
        ends = pairs[rng.randint(len(pairs), size=_BLOCK, dtype=np.int64)]
        num_subgoals = rng.randint(
            tier.min_subgoals, most + 1, size=_BLOCK, dtype=np.int64
        )
        between = _distinct(rng, _BLOCK, maze.num_nodes - 2, most - 2)
        # Numbers of the nodes but for the two ends: make room for the ends.
        for end in np.sort(ends, axis=1).T:
            between += between >= end[:, None]
        subgoals = np.concatenate([ends[:, :1], between, ends[:, 1:]], axis=1)
        last = num_subgoals - 1
        subgoals[np.arange(_BLOCK), last] = ends[:, 1]
        legs = maze.distance[subgoals[:, :-1], subgoals[:, 1:]].astype(np.int64)
        used = np.arange(most - 1) < last[:, None]
        length = 1 + (legs * used).sum(axis=1)
        accepted = (length <= tier.max_length) & (~used | (legs > 0)).all(axis=1)
        for row in range(_BLOCK):
            if accepted[row]:
                yield [maze.join(subgoals[row, : num_subgoals[row]].tolist())]
            else:
                yield []


def _distinct(
    rng: np.random.RandomState, num_rows: int, size: int, count: int
) -> np.ndarray:
    """int64[num_rows, count]: distinct numbers below `size` (Fisher and Yates)."""
    rows = np.arange(num_rows)
    numbers = np.tile(np.arange(size), (num_rows, 1))
    for i in range(count):
        chosen = i + (rng.random_sample(num_rows) * (size - i)).astype(np.int64)
        swapped = numbers[rows, chosen]
        numbers[rows, chosen] = numbers[:, i]
        numbers[:, i] = swapped
    return numbers[:, :count]


def _path_first(
    maze: Maze, tier: MazeTier, pairs: np.ndarray, rng: np.random.RandomState
) -> Iterator[list[tuple[list[int], list[int]]]]:
    """Yields, attempt by attempt, paths between random ends with random subgoals."""
    while True:
        start, goal = pairs[rng.randint(len(pairs), dtype=np.int64)].tolist()
        shortest = maze.random_shortest_path(rng, start, goal)
        paths = [shortest]
        if len(shortest) < tier.max_length:
            paths += maze.detours(rng, shortest, _NUM_DETOURS)
        found = []
        for path in paths:
            most = min(tier.max_subgoals, len(path))
            if len(path) <= tier.max_length and tier.min_subgoals <= most:
                num_subgoals = rng.randint(tier.min_subgoals, most + 1, dtype=np.int64)
                between = rng.permutation(len(path) - 2)[: num_subgoals - 2] + 1
                anchors = [0, *sorted(between.tolist()), len(path) - 1]
                found.append((path, anchors))
        yield found


def checksum(examples: Iterable[MazeExample]) -> str:
    """SHA-256 of examples, to compare data across machines.

    Args:
      examples: in order.

    Returns:
      The hexadecimal digest of one compact JSON line per example.
    """
    digest = hashlib.sha256()
    for example in examples:
        line = json.dumps(example._asdict(), sort_keys=True, separators=(",", ":"))
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()
