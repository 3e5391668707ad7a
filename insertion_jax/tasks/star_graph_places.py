"""Where the tokens of a generated path lie in their star graph."""

import collections
from collections.abc import Iterable

import numpy as np

from insertion_jax.types import Batch


def places(
    examples: Batch, tokens: np.ndarray, length: np.ndarray
) -> dict[str, np.ndarray]:
    """Graph distances of generated tokens.

    Args:
      examples: N rows; only the prompts are read.
      tokens: int[N, L].
      length: int[N].

    Returns:
      float64[N, L] each, in edges whatever their direction; NaN at padding and at
      tokens that are no node of the graph. "distance to the junction": from the node
      that most edges leave, where all arms meet and the next node cannot be told without
      looking ahead. "distance to the goal".
    """
    tokens = np.asarray(tokens)
    to_junction = np.full(tokens.shape, np.nan)
    to_goal = np.full(tokens.shape, np.nan)
    for row, size in enumerate(np.asarray(length).tolist()):
        prompt = np.asarray(examples.prompt[row])[examples.prompt_mask[row]]
        *edges, (_, end) = prompt.reshape(-1, 2).tolist()
        for distance, start in ((to_junction, junction(edges)), (to_goal, end)):
            of_node = distances(edges, start)
            for i, token in enumerate(tokens[row, :size].tolist()):
                distance[row, i] = of_node.get(token, np.nan)
    return {"distance to the junction": to_junction, "distance to the goal": to_goal}


def junction(edges: Iterable[tuple[int, int]]) -> int:
    """The node that most edges leave, where all arms of a star graph meet.

    Args:
      edges: directed.
    """
    # Counting both ends would not do: an arm of a small graph can make another node
    # the end of as many.
    leaving = collections.Counter(node for node, _ in edges)
    return leaving.most_common(1)[0][0]


def distances(edges: Iterable[tuple[int, int]], start: int) -> dict[int, int]:
    """Numbers of edges between a node and those that it is joined to.

    Args:
      edges: may be walked in both directions.
      start: a node.

    Returns:
      By node; breadth-first.
    """
    neighbours = collections.defaultdict(list)
    for u, v in edges:
        neighbours[u].append(v)
        neighbours[v].append(u)
    found = {start: 0}
    queue = collections.deque([start])
    while queue:
        node = queue.popleft()
        for other in neighbours[node]:
            if other not in found:
                found[other] = found[node] + 1
                queue.append(other)
    return found


def edges_before_junction(examples: Batch) -> np.ndarray:
    """How far the junction is from the source.

    Args:
      examples: N rows whose targets are the right paths, which pass the junction.

    Returns:
      int64[N], edges.
    """
    counts = []
    columns = examples.prompt, examples.prompt_mask, examples.tokens
    for prompt, mask, tokens in zip(*map(np.asarray, columns), strict=True):
        *edges, _ = prompt[mask].reshape(-1, 2).tolist()
        # The source stands once, then every node twice.
        counts.append((tokens.tolist().index(junction(edges)) + 1) // 2)
    return np.array(counts)
