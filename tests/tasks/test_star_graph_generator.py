"""The graphs: the frozen splits, the shape of a star, held-out graphs."""

import itertools

import pytest

from insertion_jax.tasks import star_graph_generator
from insertion_jax.tasks.star_graph_generator import SPLIT_SEEDS, TIERS

FROZEN = {
    "train": "8fc03eda5cb9a43e9a5f79c6e31035a0235f16e728ac6d4cda70de2b35b13baf",
    "validation": "9a7adaf0bdc860a7bf18db336d51f5238b7ca2abb7f5071bbdeba010e4d01135",
    "test": "1e359d180d726751b495ef248baf626ac13b6928693de27746126f616f991acd",
}


@pytest.fixture(params=TIERS)
def tier(request):
    return TIERS[request.param]


def identity(graph):
    return frozenset(graph.edges), graph.source, graph.goal


@pytest.mark.parametrize("split", FROZEN)
def test_hard_splits_are_the_frozen_ones(split):
    graphs = star_graph_generator.split_graphs(TIERS["hard"], split)
    assert star_graph_generator.checksum(graphs) == FROZEN[split]


def test_checksum_sees_the_order_of_edges():
    graph = next(star_graph_generator.generate(TIERS["hard"], SPLIT_SEEDS["train"]))
    swapped = graph._replace(edges=graph.edges[::-1])
    assert star_graph_generator.checksum([graph]) != star_graph_generator.checksum(
        [swapped]
    )


def test_graphs_are_stars_with_one_path(tier):
    num_nodes, sources_at_junction = set(), set()
    for graph in itertools.islice(star_graph_generator.generate(tier, seed=3), 200):
        edges = set(graph.edges)
        assert len(edges) == len(graph.edges) <= tier.max_edges
        nodes = set(itertools.chain.from_iterable(edges))
        assert len(nodes) == len(edges) + 1
        assert nodes <= set(range(tier.num_ids))
        out_degree = {u: sum(edge[0] == u for edge in edges) for u in nodes}
        junction = max(out_degree, key=out_degree.get)
        assert out_degree[junction] == tier.degree
        assert all(n <= 1 for u, n in out_degree.items() if u != junction)

        assert (graph.source, graph.goal) == (graph.path[0], graph.path[-1])
        assert edges.issuperset(itertools.pairwise(graph.path))
        edges_to_goal = len(graph.path) - 1 - graph.path.index(junction)
        assert edges_to_goal >= (tier.min_plan or tier.min_nodes - 1)
        num_nodes.add(len(graph.path))
        sources_at_junction.add(graph.source == junction)
    assert num_nodes == set(range(tier.min_nodes, tier.max_nodes + 1))
    assert sources_at_junction == ({True} if tier.min_plan is None else {True, False})


def test_held_out_graphs_are_held_out():
    # The smallest tier, where a graph easily comes twice.
    tier = TIERS["tiny"]
    sizes = {"num_train": 3_000, "num_validation": 1_000, "num_test": 3_000}
    splits = {
        split: [
            identity(g) for g in star_graph_generator.split_graphs(tier, split, **sizes)
        ]
        for split in SPLIT_SEEDS
    }
    assert {s: len(graphs) for s, graphs in splits.items()} == {
        "train": 3_000,
        "validation": 1_000,
        "test": 3_000,
    }
    for one, other in itertools.combinations(splits.values(), 2):
        assert set(one).isdisjoint(other)

    # Without the filter they are not.
    stream = star_graph_generator.generate(tier, SPLIT_SEEDS["train"])
    unfiltered = {identity(g) for g in itertools.islice(stream, 3_000)}
    assert not unfiltered.isdisjoint(splits["test"])
