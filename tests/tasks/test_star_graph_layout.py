"""Where the nodes of a picture go."""

import itertools
import math

import numpy as np
import pytest

from insertion_jax.tasks import star_graph_layout
from insertion_jax.tasks.star_graph_generator import TIERS, generate


@pytest.mark.parametrize("tier", TIERS)
def test_star_is_laid_out_in_straight_rays_without_overlap(tier):
    graphs = generate(TIERS[tier], seed=0)
    for graph in itertools.islice(graphs, 30):
        edges = [(str(u), str(v)) for u, v in graph.edges]
        source, goal = str(graph.source), str(graph.goal)
        positions = star_graph_layout.layout(edges, source, goal)
        assert set(positions) == set(itertools.chain.from_iterable(edges))
        closest = min(
            math.dist(a, b) for a, b in itertools.combinations(positions.values(), 2)
        )
        assert closest > 0.9
        assert positions[goal][0] > 1 and abs(positions[goal][1]) < 1e-6
        assert positions[source][0] <= 0
        for u, v in edges:  # Both ends on one line through the junction.
            assert abs(np.cross((*positions[u], 0), (*positions[v], 0))[2]) < 1e-6


@pytest.mark.parametrize(
    "edges",
    [
        "ab bc ca",  # a cycle
        "ab bc bd ce de",  # arms that join again
        "ab ac ad be ce",  # two arms with a common end
        "ab cd",  # two pieces
        "ab ac bd be",  # a branch on an arm
        "aa ab",  # an edge to itself
    ],
)
def test_other_graphs_are_laid_out_in_a_circle(edges):
    pairs = [tuple(edge) for edge in edges.split()]
    positions = star_graph_layout.layout(pairs)
    assert set(positions) == set(edges.replace(" ", ""))
    radii = [math.hypot(*point) for point in positions.values()]
    assert radii == pytest.approx([radii[0]] * len(radii)) and radii[0] > 0
    assert len(set(positions.values())) == len(positions)
