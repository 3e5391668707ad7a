"""The order in which every step of a path is forced."""

import itertools

import jax
import numpy as np
import pytest

from insertion_jax.core import permutations
from insertion_jax.tasks import star_graph_order, star_graphs
from insertion_jax.tasks.star_graph_generator import TIERS, StarGraph, generate


def perms_of(graphs, tier):
    """Draws of the order, int[N, L]."""
    batch = star_graphs.encode(graphs, tier)
    keys = jax.random.split(jax.random.key(0), len(graphs))

    def draw(example, key):
        mask = np.arange(tier.max_length) < example.length
        rank = star_graph_order.order_rank(example)
        return permutations.plackett_luce(key, permutations.ranked_logits(rank), mask)

    return np.asarray(jax.vmap(draw)(batch, keys)), batch.length


def test_by_hand():
    # 4 > 1 > 5 > 2 > 3 through junction 5, from which 8 can be reached, too.
    edges = ((2, 3), (5, 8), (1, 5), (5, 2), (4, 1))
    graphs = [
        StarGraph(edges, source=4, goal=3, path=(4, 1, 5, 2, 3)),
        StarGraph(edges, source=5, goal=3, path=(5, 2, 3)),
    ]
    perms, length = perms_of(graphs, TIERS["medium"])
    # 4 1 1 5 5 2 2 3: back to both 5s, then from 4; where 5 is the source, back to it.
    assert perms[0][: length[0]].tolist() == [7, 6, 5, 4, 3, 0, 1, 2]
    assert perms[1][: length[1]].tolist() == [3, 2, 1, 0]


def insertions_that_are_guessed(graph, perm):
    """Of a path in this order, the nodes that no edge of a neighbour settles.

    Counts insertions of a node that an edge has to be looked up for, where this edge is
    not the only one on that side of the node inserted before.
    """
    tokens = list(itertools.chain.from_iterable(itertools.pairwise(graph.path)))
    guesses, there = 0, set()
    for position in perm[: len(tokens)]:
        twin = position + 1 if position % 2 else position - 1
        node, partner = tokens[position], position + (-1) ** (position % 2)
        is_copy = twin in there or node in (graph.source, graph.goal)
        if not is_copy:
            assert partner in there
            known, side = tokens[partner], 1 - partner % 2
            guesses += [edge[1 - side] for edge in graph.edges].count(known) != 1
        there.add(position)
    return guesses


@pytest.mark.parametrize("name", TIERS)
def test_nothing_has_to_be_guessed(name):
    tier = TIERS[name]
    graphs = list(itertools.islice(generate(tier, 1), 100))
    perms, length = perms_of(graphs, tier)
    counts = [insertions_that_are_guessed(*pair) for pair in zip(graphs, perms)]
    assert sum(counts) == 0
    # The control: straight back, the arm into the junction is a guess; in easy and tiny
    # the source is at most one edge before it.
    backwards = [np.arange(size)[::-1] for size in length]
    counts = [insertions_that_are_guessed(*pair) for pair in zip(graphs, backwards)]
    assert (sum(counts) > 0) == (name in ("medium", "hard"))
