"""Paths through a maze: shortest ones, shortest ones at random, and detours.

The free cells of a maze are the nodes of a graph, numbered row by row; here, and in
`maze_examples`, a path is a list of nodes. `Maze.cells` gives the cell of a node.
"""

import functools
import itertools
from collections.abc import Sequence

import numpy as np

from insertion_jax.tasks.maze_generator import DIRECTIONS
from insertion_jax.types import InputError

_MAX_NODES = 2_500  # everything about pairs of nodes is a table
_DETOUR_ATTEMPTS = 500


class Maze:
    """A maze as a graph.

    Attributes:
      walls: bool[H, W], read only.
      width: W; the cell of row r and column c has the number r W + c.
      cells: int64[n], the free cells, in increasing order; node i is the i-th.
      node_of: int64[H W], the node of each cell, -1 at walls.
      neighbours: for each node, its neighbours up, down, left and right of it.
    """

    def __init__(self, walls: np.ndarray):
        """Numbers the free cells.

        Args:
          walls: bool[H, W], true at walls; not all of it is wall.

        Raises:
          InputError: if the maze is too large.
        """
        self.walls = np.array(walls, bool)
        self.walls.flags.writeable = False
        self.width = self.walls.shape[1]
        self.cells = np.flatnonzero(~self.walls)
        if len(self.cells) > _MAX_NODES:
            raise InputError(
                f"The maze has {len(self.cells)} free cells; at most {_MAX_NODES} are "
                "allowed."
            )
        self.node_of = np.full(self.walls.size, -1)
        self.node_of[self.cells] = np.arange(len(self.cells))
        # Behind the edge of the grid is no node either.
        grid = np.pad(self.node_of.reshape(self.walls.shape), 1, constant_values=-1)
        rows, columns = np.nonzero(~self.walls)
        beside = [grid[rows + 1 + i, columns + 1 + j] for i, j in DIRECTIONS]
        self._beside = np.stack(beside, axis=1).tolist()
        self.neighbours = [[v for v in row if v >= 0] for row in self._beside]

    @property
    def num_nodes(self) -> int:
        return len(self.cells)

    @functools.cached_property
    def component(self) -> np.ndarray:
        """int64[n]: a number for each piece of the maze, counted from 0."""
        return np.array(_components(self.neighbours, [False] * self.num_nodes))

    @functools.cached_property
    def is_forest(self) -> bool:
        """Whether there is at most one simple path between any two cells."""
        num_edges = sum(map(len, self.neighbours)) // 2
        return num_edges == self.num_nodes - len(set(self.component.tolist()))

    @functools.cached_property
    def _searches(self) -> tuple[np.ndarray, np.ndarray]:
        """Distances and parents of breadth-first search from each node."""
        size = self.num_nodes
        distance = np.full((size, size), -1, np.int16)
        parent = np.full((size, size), -1, np.int16)
        for start in range(size):
            steps, before = [-1] * size, [-1] * size
            steps[start] = 0
            queue = [start]
            for u in queue:
                for v in self.neighbours[u]:
                    if steps[v] < 0:
                        steps[v] = steps[u] + 1
                        before[v] = u
                        queue.append(v)
            distance[start], parent[start] = steps, before
        return distance, parent

    @property
    def distance(self) -> np.ndarray:
        """int16[n, n]: moves between any two nodes, -1 where there is no path."""
        return self._searches[0]

    def shortest_path(self, start: int, goal: int) -> list[int]:
        """The path that breadth-first search finds, looking up, down, left, right.

        Args:
          start: a node.
          goal: a node that is joined to it.

        Returns:
          The nodes from start to goal.
        """
        return _trace(self._searches[1][start], start, goal)

    def join(self, subgoals: Sequence[int]) -> tuple[list[int], list[int]]:
        """Visits nodes in order, by a shortest path from each to the next.

        Args:
          subgoals: nodes, each joined to the next and different from it.

        Returns:
          `(path, anchors)`: the nodes of the whole way, and where the subgoals stand
          in it. The path is a shortest one that visits them in this order.
        """
        path, anchors = [subgoals[0]], [0]
        for start, goal in itertools.pairwise(subgoals):
            path += self.shortest_path(start, goal)[1:]
            anchors.append(len(path) - 1)
        return path, anchors

    @functools.cached_property
    def _orders(self) -> list[list[list[int]]]:
        """The neighbours of all nodes, once for each of the 24 orders to look at them."""
        return [
            [[row[k] for k in order if row[k] >= 0] for row in self._beside]
            for order in itertools.permutations(range(len(DIRECTIONS)))
        ]

    def random_shortest_path(
        self,
        rng: np.random.RandomState,
        start: int,
        goal: int,
        blocked: Sequence[int] = (),
    ) -> list[int]:
        """Breadth-first search that looks at neighbours in a random order.

        Args:
          rng: gives each node its order.
          start: a node.
          goal: another node.
          blocked: nodes that the path must not touch; start and goal may be among
            them.

        Returns:
          The nodes from start to goal; empty if there is no path.
        """
        order = rng.randint(len(self._orders), size=self.num_nodes, dtype=np.int64)
        order = order.tolist()
        parent = [-1] * self.num_nodes
        for node in blocked:
            parent[node] = node
        parent[start] = start
        parent[goal] = -1
        queue = [start]
        for u in queue:
            for v in self._orders[order[u]][u]:
                if parent[v] < 0:
                    parent[v] = u
                    if v == goal:
                        return _trace(parent, start, goal)
                    queue.append(v)
        return []

    def detours(
        self, rng: np.random.RandomState, path: Sequence[int], count: int
    ) -> list[list[int]]:
        """Simple paths between the same ends that leave a shortest path once.

        A stretch of the path is drawn at random and replaced by a random shortest
        path between its ends that touches no other cell of the path. What is
        longer than the path and was not found before is kept, until there are
        enough or 500 stretches were tried.

        Args:
          rng: draws stretches and paths.
          path: a shortest path.
          count: of detours wanted.

        Returns:
          At most `count` paths.
        """
        size = len(path)
        if size < 3 or self.is_forest:
            return []
        left = rng.randint(size - 2, size=_DETOUR_ATTEMPTS, dtype=np.int64)
        right = rng.random_sample(_DETOUR_ATTEMPTS) * (size - 2 - left)
        right = left + 2 + right.astype(np.int64)
        exits = self._exits(path)
        found = []
        futile = set()  # stretches whose ways around are no longer
        for i, j in zip(left.tolist(), right.tolist(), strict=True):
            if len(found) == count:
                break
            # Most stretches have no way around; a search would tell, but slower.
            if (i, j) in futile or exits[i].isdisjoint(exits[j]):
                continue
            around = self.random_shortest_path(rng, path[i], path[j], path)
            detour = [*path[:i], *around, *path[j + 1 :]]
            if len(detour) <= size:
                futile.add((i, j))
            elif detour not in found:
                found.append(detour)
        return found

    def _exits(self, path: Sequence[int]) -> list[set[int]]:
        """For each node of a path, the pieces beside it of what the path leaves."""
        on_path = [False] * self.num_nodes
        for node in path:
            on_path[node] = True
        piece = _components(self.neighbours, on_path)
        return [
            {piece[v] for v in self.neighbours[node] if not on_path[v]} for node in path
        ]


def _components(neighbours: Sequence[Sequence[int]], blocked: list[bool]) -> list[int]:
    """The number of each node's connected piece, -1 for blocked nodes."""
    component = [-1] * len(neighbours)
    number = 0
    for start, is_blocked in enumerate(blocked):
        if is_blocked or component[start] >= 0:
            continue
        component[start] = number
        queue = [start]
        for u in queue:
            for v in neighbours[u]:
                if component[v] < 0 and not blocked[v]:
                    component[v] = number
                    queue.append(v)
        number += 1
    return component


def _trace(parent: Sequence[int], start: int, goal: int) -> list[int]:
    """The path to a goal from the parents that a search left."""
    path = [int(goal)]
    while path[-1] != start:
        path.append(int(parent[path[-1]]))
    return path[::-1]
