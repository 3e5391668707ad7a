"""Drawing star graphs: the tiers, the frozen recipe, the splits.

The tiers come from the release of the Insertion Language Model (arXiv 2505.05755).
The recipe, and with it the hard tier's splits, follows bit for bit that of a public
re-implementation of the Insertion Process (arXiv 2606.02133); `checksum` shows it.
"""

import hashlib
import itertools
import json
import random
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from insertion_jax.types import InputError

SPLIT_SEEDS = {"train": 314159, "validation": 271828, "test": 161803}
_SHUFFLE_SEED_MASK = 0x5EED5EED

Edge = tuple[int, int]


class StarTier(NamedTuple):
    """How large and how hard the graphs are.

    Attributes:
      name: as `make` knows it.
      degree: number of arms.
      min_nodes: of an arm, the junction included.
      max_nodes: of an arm, the junction included.
      min_plan: least number of edges from the junction to the end of an arm, the
        junction lying anywhere before (asymmetric); None puts it first in every
        arm, so that the source is the centre (symmetric).
      num_ids: number of node ids to draw from.
      num_validation: size of the validation split.
    """

    name: str
    degree: int
    min_nodes: int
    max_nodes: int
    min_plan: int | None
    num_ids: int
    num_validation: int = 1_000

    @property
    def max_edges(self) -> int:
        return self.degree * (self.max_nodes - 1)

    @property
    def prompt_length(self) -> int:
        return 2 * self.max_edges + 2

    @property
    def max_length(self) -> int:
        return 2 * (self.max_nodes - 1)


# ILM calls the last three star_small, vstar_small and vstar_medium. Tiny is for
# tests and for seeing something within a minute on a laptop.
TIERS = {
    tier.name: tier
    for tier in (
        StarTier("tiny", 2, 3, 4, min_plan=2, num_ids=10),
        StarTier("easy", 3, 5, 5, min_plan=None, num_ids=20),
        StarTier("medium", 3, 3, 6, min_plan=2, num_ids=20),
        StarTier("hard", 5, 6, 12, min_plan=5, num_ids=56, num_validation=100),
    )
}


class StarGraph(NamedTuple):
    """One problem and its answer, in node ids.

    Attributes:
      edges: directed, shuffled.
      source: first node of the path.
      goal: last node of the path.
      path: the nodes from source to goal.
    """

    edges: tuple[Edge, ...]
    source: int
    goal: int
    path: tuple[int, ...]


def generate(tier: StarTier, seed: int) -> Iterator[StarGraph]:
    """Yields star graphs without end, the same ones for the same seed.

    This is the frozen recipe. Two generators run side by side: NumPy's legacy one
    (its stream is frozen) for integers and choices, Python's for the shuffles. The
    order of draws is part of the recipe, too.

    Args:
      tier: size of the graphs.
      seed: one of `SPLIT_SEEDS`, or any other.

    Yields:
      Graphs, drawn one after the other from the two streams.
    """
    numbers = np.random.RandomState(seed)
    shuffler = random.Random(seed ^ _SHUFFLE_SEED_MASK)
    while True:
        num_nodes = numbers.randint(
            tier.min_nodes, tier.max_nodes + 1, size=tier.degree, dtype=np.int64
        ).tolist()
        if tier.min_plan is None:
            junction_at = [0] * tier.degree
        else:
            junction_at = [
                int(numbers.randint(n - tier.min_plan, dtype=np.int64))
                for n in num_nodes
            ]
        num_distinct = sum(num_nodes) - (tier.degree - 1)
        ids = iter(numbers.choice(tier.num_ids, num_distinct, replace=False).tolist())
        junction = next(ids)
        arms = [
            [junction if i == at else next(ids) for i in range(n)]
            for n, at in zip(num_nodes, junction_at, strict=True)
        ]
        edges = [edge for arm in arms for edge in itertools.pairwise(arm)]
        shuffler.shuffle(edges)
        path = tuple(arms[0])
        yield StarGraph(tuple(edges), path[0], path[-1], path)


def split_graphs(
    tier: StarTier,
    split: str,
    *,
    num_train: int = 50_000,
    num_validation: int | None = None,
    num_test: int = 5_000,
) -> Iterator[StarGraph]:
    """Yields the graphs of a split.

    Held out means held out: a validation graph that is also a test graph, and a
    training graph that is also a validation or a test graph (the same edges in
    whatever order, source and goal), is dropped and the next one of the stream
    takes its place. So the sizes of the held-out splits are part of what the
    training split is; keep them from training to evaluation. The hard tier has no
    such graph: its splits are the frozen ones. Within a split a graph may come
    twice, as in the frozen recipe; in the small tiers it does.

    Args:
      tier: size of the graphs.
      split: "train", "validation" or "test".
      num_train: size of the training split.
      num_validation: size of the validation split; None is the tier's own.
      num_test: size of the test split.

    Yields:
      The split's graphs in their order.

    Raises:
      InputError: if there is no such split.
    """
    sizes = {
        "test": num_test,
        "validation": tier.num_validation if num_validation is None else num_validation,
        "train": num_train,
    }
    if split not in sizes:
        raise InputError(
            f"Unknown split {split!r}: the splits are train, validation and test."
        )
    held_out = set()
    for name, size in sizes.items():
        stream = generate(tier, SPLIT_SEEDS[name])
        fresh = (graph for graph in stream if _identity(graph) not in held_out)
        if name == split:
            yield from itertools.islice(fresh, size)
            return
        # Collected before it is added: within a split graphs may come twice.
        held_out |= {_identity(graph) for graph in itertools.islice(fresh, size)}


def _identity(graph: StarGraph) -> tuple[frozenset[Edge], int, int]:
    """What makes two graphs the same problem."""
    return frozenset(graph.edges), graph.source, graph.goal


def checksum(graphs: Iterable[StarGraph]) -> str:
    """SHA-256 of graphs, to compare data across code bases.

    Args:
      graphs: in order.

    Returns:
      The hexadecimal digest of one compact JSON line per graph, in the format of
      the frozen splits.
    """
    digest = hashlib.sha256()
    for graph in graphs:
        record = {
            "edge_list": graph.edges,
            "goal": graph.goal,
            "path": graph.path,
            "source": graph.source,
        }
        line = json.dumps(record, sort_keys=True, separators=(",", ":")) + "\n"
        digest.update(line.encode())
    return digest.hexdigest()
