"""What the benchmarks say of star graphs: first wrong insertions, and what is forced."""

import importlib.util
import pathlib

import numpy as np
import pytest

from insertion_jax.tasks.star_graph_generator import StarGraph
from insertion_jax.tasks.star_graph_places import junction

_FOLDER = pathlib.Path(__file__).parents[1] / "benchmarks"
# Two arms enter junction 0 and three leave it; the path is 1, 0, 3, 4.
_EDGES = [[1, 0], [2, 0], [0, 3], [0, 5], [3, 4], [0, 6]]
_TARGET = [1, 0, 0, 3, 3, 4]


@pytest.fixture(scope="module")
def failures():
    return _benchmark("plan_failures")


@pytest.fixture(scope="module")
def lookups():
    return _benchmark("plan_lookups")


@pytest.fixture(scope="module")
def ceilings():
    return _benchmark("plan_ceilings")


def _benchmark(name):
    spec = importlib.util.spec_from_file_location(name, _FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_junction_is_the_node_that_most_edges_leave():
    assert junction(_EDGES) == 0
    # As many edges end in 7 as in 0, and all of 7's end there.
    assert junction([[1, 7], [2, 7], [3, 7], [4, 0], [0, 1], [0, 2]]) == 0


@pytest.mark.parametrize(
    ("steps", "yes"),
    [
        # The path 7, 1, 0, 3: tokens 7 1 1 0 0 3.
        ([5, 4, 3, 2, 1, 0], False),
        ([0, 1, 2, 3, 4, 5], True),
        ([1, 5, 2, 3, 4, 0], True),
        ([1, 5, 4, 3, 2, 0], False),
    ],
)
def test_what_comes_from_the_source(failures, steps, yes):
    assert failures.source_side_first(steps, before=2) == yes


@pytest.mark.parametrize(
    ("sample", "steps", "kind"),
    [
        # Backwards, until the wrong arm is taken into the junction.
        ([2, 0, 0, 3, 3, 4], [5, 4, 3, 2, 1, 0], "enters"),
        # Left to right, until the wrong arm is taken out of it.
        ([1, 0, 0, 5], [0, 1, 2, 3], "leaves"),
        ([1, 0, 0, 0, 3, 3, 4], [6, 5, 4, 3, 2, 1, 0], "too often"),
        ([1, 0, 7, 0, 3, 3, 4], [0, 1, 6, 2, 3, 4, 5], "other"),
        # 3 cannot stand left of 0, although it is on the path.
        ([3, 0], [1, 0], "other"),
        ([0, 3, 3, 4], [3, 2, 1, 0], "stopped"),
        ([], [], "stopped"),
        # What counts is the first mistake, not the most striking one.
        ([2, 0, 0, 5], [3, 2, 1, 0], "leaves"),
    ],
)
def test_first_wrong(failures, sample, steps, kind):
    found = failures.first_wrong(sample, steps, _TARGET, _EDGES, 0)
    assert found == kind


def test_what_lookups_are_asked(lookups):
    # Source 7, then 1, 2, the junction 0 and the goal 4; another path from a junction.
    plan = np.array([7, 1, 1, 2, 2, 0, 0, 4, -1])
    asked = lookups.questions(np.array([8, 8]), np.array([3, 0]), len(plan))
    canvases = {
        "from the source": ([7, 4], 1, [True, False]),
        "from the goal": ([7, 4], 0, [True, True]),
        "from a node": ([7, 1, 1, 4], 2, [True, True]),
        "back at the junction": ([0, 0, 4], 7, [True, False]),
        "at the junction": ([7, 0, 0, 4], 1, [True, False]),
        "into the junction": ([7, 0, 0, 4], 2, [True, False]),
    }
    assert asked.keys() == canvases.keys()
    for name, (shown, gap, target, chosen) in asked.items():
        canvas, token, who = canvases[name]
        position = np.ravel(target)[0]
        assert plan[shown[0]].tolist() == canvas, name
        assert plan[position] == token, name
        assert chosen.tolist() == who, name
        # All that is missing lies in one gap, and the target in it.
        missing = np.flatnonzero(~shown[0, :8])
        assert {shown[0, :i].sum() for i in [*missing, position]} == {gap}, name


def test_ceilings_by_hand(ceilings):
    # 7 enters 1, so that the source is two edges from the junction.
    edges = tuple(map(tuple, [[7, 1], *_EDGES]))
    graph = StarGraph(edges, source=7, goal=4, path=(7, 1, 0, 3, 4))
    backwards = [ceilings.backwards(graph, edges) for edges in range(3)]
    # One edge ahead 2 is seen not to be the source, and to have nothing before it.
    assert backwards == [1 / 2, 1, 1]
    forwards = [ceilings.forwards(graph, edges) for edges in range(3)]
    assert forwards == [1 / 3, 1, 1]
    assert ceilings.backwards(graph._replace(source=0, path=(0, 3, 4)), 0) == 1
