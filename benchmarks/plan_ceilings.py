"""What star graphs allow a fixed direction, by how far a model looks ahead.

    python benchmarks/plan_ceilings.py

Written from the left, a path is forced as far as the junction, where any arm may be the
one that leads to the goal; written from the goal back, it is forced as far as the
junction, where any arm may be the one that comes from the source (all tiers but easy:
there the source is the junction). A model that looks h edges ahead knows the nodes up
to h edges away on each arm, and whether the arm ends with them: it takes the arm on
which it sees source or goal, and otherwise guesses among those that go on. Written from
both ends towards the junction every step is forced. Prints the exact match of the best
such model for h from 0 to 6, on the test graphs of each tier.
"""

import numpy as np

from insertion_jax.tasks.star_graph_generator import TIERS, split_graphs
from insertion_jax.tasks.star_graph_places import junction

_LOOK_AHEAD = range(7)


def main():
    print("| tier | direction | " + " | ".join(map(str, _LOOK_AHEAD)) + " |")
    print("|---" * (2 + len(_LOOK_AHEAD)) + "|")
    for name, tier in TIERS.items():
        graphs = list(split_graphs(tier, "test"))
        for direction, ceiling in (("backwards", backwards), ("forwards", forwards)):
            shares = [
                np.mean([ceiling(graph, edges) for graph in graphs])
                for edges in _LOOK_AHEAD
            ]
            row = " | ".join(f"{share:.3f}" for share in shares)
            print(f"| {name} | {direction} | {row} |", flush=True)


def forwards(graph, look_ahead):
    """Probability of the right arm out of the junction, of a `StarGraph`."""
    centre = junction(graph.edges)
    after = graph.path[graph.path.index(centre) + 1 :]
    return _right_arm(graph.edges, centre, len(after), look_ahead)


def backwards(graph, look_ahead):
    """Probability of the right arm into the junction; 1 where the source is it."""
    centre = junction(graph.edges)
    reversed_edges = [(v, u) for u, v in graph.edges]
    num_before = graph.path.index(centre)
    return _right_arm(reversed_edges, centre, num_before, look_ahead)


def _right_arm(edges, centre, distance, look_ahead):
    """1 over the number of arms that go on out of sight; 1 if the end is in sight."""
    if distance <= look_ahead:
        return 1.0
    following = {u: v for u, v in edges if u != centre}
    return 1 / sum(
        _length(following, node) > look_ahead
        for start, node in edges
        if start == centre
    )


def _length(following, node):
    """Number of nodes from this one to the last."""
    count = 1
    while node in following:
        node, count = following[node], count + 1
    return count


if __name__ == "__main__":
    main()
