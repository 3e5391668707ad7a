"""Shortest paths against scipy, random ones, detours."""

import itertools

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path

from insertion_jax.tasks import maze_files, maze_generator
from insertion_jax.tasks.maze_paths import Maze
from insertion_jax.types import InputError

OPEN = "#####\n#   #\n#   #\n#   #\n#####"
RING = "#####\n#   #\n# # #\n#   #\n#####"
TWO_PIECES = "  # \n# # \n  # "


@pytest.fixture(scope="module", params=maze_generator.FAMILIES)
def maze(request):
    return Maze(maze_generator.generate(request.param, 6, seed=3))


def of_text(text):
    return Maze(maze_files.parse(text))


def is_walk(maze, path):
    return all(v in maze.neighbours[u] for u, v in itertools.pairwise(path))


def node(maze, row, column):
    return int(maze.node_of[row * maze.width + column])


def test_nodes_are_the_free_cells():
    maze = of_text(TWO_PIECES)
    assert maze.cells.tolist() == [0, 1, 3, 5, 7, 8, 9, 11]
    assert maze.node_of.tolist() == [0, 1, -1, 2, -1, 3, -1, 4, 5, 6, -1, 7]
    assert maze.neighbours[node(maze, 0, 1)] == [node(maze, 1, 1), node(maze, 0, 0)]
    assert maze.component.tolist() == [0, 0, 1, 0, 1, 0, 0, 1]
    assert maze.distance[0].tolist() == [0, 1, -1, 2, -1, 4, 3, -1]
    assert maze.is_forest and not of_text(RING).is_forest
    with pytest.raises(ValueError, match="read-only"):
        maze.walls[0, 0] = True


def test_distances_are_scipys(maze):
    pairs = [(u, v) for u, others in enumerate(maze.neighbours) for v in others]
    graph = csr_array(
        (np.ones(len(pairs)), np.array(pairs).T), shape=(maze.num_nodes,) * 2
    )
    expected = shortest_path(graph, unweighted=True)
    np.testing.assert_array_equal(maze.distance, expected)
    assert expected.max() > 20


def test_shortest_paths(maze):
    rng = np.random.RandomState(0)
    for start, goal in rng.randint(maze.num_nodes, size=(50, 2)).tolist():
        for path in (
            maze.shortest_path(start, goal),
            maze.random_shortest_path(rng, start, goal) if start != goal else [start],
        ):
            assert (path[0], path[-1]) == (start, goal)
            assert is_walk(maze, path)
            assert len(path) == maze.distance[start, goal] + 1


def test_join_visits_all_and_knows_where(maze):
    subgoals = [5, 0, maze.num_nodes - 1, 7, 5]
    path, anchors = maze.join(subgoals)
    assert is_walk(maze, path)
    assert [path[i] for i in anchors] == subgoals
    assert anchors == sorted(set(anchors))
    legs = [maze.distance[u, v] for u, v in itertools.pairwise(subgoals)]
    assert len(path) == 1 + sum(legs)


def test_random_paths_are_random():
    # Two ways around the middle, found equally often.
    maze = of_text(RING)
    start, goal = node(maze, 1, 1), node(maze, 3, 3)
    rng = np.random.RandomState(0)
    found = [tuple(maze.random_shortest_path(rng, start, goal)) for _ in range(400)]
    first = found.count(found[0])
    assert len(set(found)) == 2
    assert abs(first - 200) < 4 * 10  # standard deviation 10
    assert len({tuple(maze.shortest_path(start, goal)) for _ in range(9)}) == 1


def test_blocked_nodes_are_avoided():
    maze = of_text(RING)
    rng = np.random.RandomState(0)
    start, goal = node(maze, 1, 1), node(maze, 1, 3)
    above = node(maze, 1, 2)
    assert maze.random_shortest_path(rng, start, goal) == [start, above, goal]
    # The ends may be blocked, too.
    around = maze.random_shortest_path(rng, start, goal, [start, above, goal])
    assert len(around) == 7 and above not in around and is_walk(maze, around)
    below = node(maze, 3, 2)
    assert maze.random_shortest_path(rng, start, goal, [above, below]) == []


def test_detour_of_a_ring_is_the_other_way_round():
    maze = of_text(RING)
    path = [node(maze, 1, column) for column in (1, 2, 3)]
    rng = np.random.RandomState(0)
    (detour,) = maze.detours(rng, path, 9)
    assert detour == [
        node(maze, *cell)
        for cell in ((1, 1), (2, 1), (3, 1), (3, 2), (3, 3), (2, 3), (1, 3))
    ]
    assert maze.detours(rng, path[:2], 9) == []


def test_detours_leave_the_path_once(maze):
    rng = np.random.RandomState(1)
    num_found = 0
    for _ in range(20):
        start, goal = rng.choice(maze.num_nodes, 2, replace=False).tolist()
        path = maze.random_shortest_path(rng, start, goal)
        detours = maze.detours(rng, path, 3)
        assert len(detours) <= 3
        assert len({*map(tuple, detours), tuple(path)}) == len(detours) + 1
        for detour in detours:
            assert (detour[0], detour[-1]) == (start, goal)
            assert is_walk(maze, detour)
            assert len(set(detour)) == len(detour) > len(path)
            kept = [i for i, u in enumerate(detour) if u in path]
            # What is kept of the path is its beginning and its end.
            jumps = [i for i, j in itertools.pairwise(kept) if j != i + 1]
            assert len(jumps) == 1
            before, after = (
                detour[: jumps[0] + 1],
                detour[kept[kept.index(jumps[0]) + 1] :],
            )
            assert path[: len(before)] == before and path[-len(after) :] == after
        num_found += len(detours)
    assert (num_found == 0) if maze.is_forest else (num_found > 20)


def test_detours_of_an_open_room_are_many():
    maze = of_text(OPEN)
    path = [node(maze, 1, column) for column in (1, 2, 3)]
    rng = np.random.RandomState(0)
    assert len(maze.detours(rng, path, 1)) == 1
    # Only the shortest way around is ever found: along the middle row.
    assert len(maze.detours(rng, path, 9)) == 1


def test_too_many_cells():
    with pytest.raises(InputError, match="3600 free cells; at most 2500 are allowed"):
        Maze(np.zeros((60, 60), bool))
