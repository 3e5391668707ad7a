"""Distances of a path's tokens in their graph."""

import numpy as np
import pytest

from insertion_jax.tasks import star_graph_places, star_graphs
from insertion_jax.tasks.star_graph_generator import TIERS, StarGraph, generate

# Two arms through 5: 1 > 5 > 2 > 3 and 5 > 8.
GRAPH = StarGraph(((2, 3), (5, 8), (1, 5), (5, 2)), source=1, goal=3, path=(1, 5, 2, 3))


def places_of(path):
    """Both distances of the nodes, as lists."""
    batch = star_graphs.encode([GRAPH], TIERS["tiny"])
    tokens = np.zeros((1, 8), int)
    tokens[0, : len(path)] = np.array(path) + 3
    found = star_graph_places.places(batch, tokens, np.array([len(path)]))
    return [found[name][0].tolist() for name in found], list(found)


def test_distances():
    (junction, goal), names = places_of([1, 5, 5, 2, 2, 3])
    assert names == ["distance to the junction", "distance to the goal"]
    np.testing.assert_equal(junction, [1, 0, 0, 1, 1, 2, np.nan, np.nan])
    np.testing.assert_equal(goal, [3, 2, 2, 1, 1, 0, np.nan, np.nan])


def test_edges_are_walked_both_ways_and_what_is_no_node_has_no_place():
    (junction, goal), _ = places_of([8, 9, -4])
    np.testing.assert_equal(junction, [1] + 7 * [np.nan])
    np.testing.assert_equal(goal, [3] + 7 * [np.nan])


@pytest.mark.parametrize("name", TIERS)
def test_junctions_of_generated_graphs(name):
    """The arm's nodes lead to the junction, each one edge nearer than the next."""
    tier = TIERS[name]
    graphs = [graph for graph, _ in zip(generate(tier, 1), range(50), strict=False)]
    batch = star_graphs.encode(graphs, tier)
    found = star_graph_places.places(batch, batch.tokens, batch.length)
    for graph, row in zip(graphs, found["distance to the junction"], strict=True):
        size = 2 * len(graph.path) - 2
        assert np.isnan(row[size:]).all()
        nearest = graph.path[int(row[:size].argmin() + 1) // 2]
        out = [u for u, _ in graph.edges].count(nearest)
        assert row[:size].min() == 0
        assert out == tier.degree
        assert set(np.abs(np.diff(row[:size]))) <= {0, 1}


def test_edges_before_the_junction():
    far = StarGraph(
        ((1, 4), (4, 5), (5, 2), (5, 8)), source=1, goal=2, path=(1, 4, 5, 2)
    )
    at_once = GRAPH._replace(source=5, path=(5, 2, 3))
    batch = star_graphs.encode([GRAPH, far, at_once], TIERS["tiny"])
    assert star_graph_places.edges_before_junction(batch).tolist() == [1, 2, 0]
