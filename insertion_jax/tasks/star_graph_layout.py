"""Where the nodes of a star graph go on paper. Knows nodes by their text alone."""

import itertools
import math
from collections.abc import Sequence

Point = tuple[float, float]
TextEdge = tuple[str, str]


def layout(
    edges: Sequence[TextEdge], source: str | None = None, goal: str | None = None
) -> dict[str, Point]:
    """Places the nodes of a graph.

    Args:
      edges: directed.
      source: the ray on which it lies goes to the left.
      goal: the ray on which it lies goes to the right.

    Returns:
      Coordinates of every node, neighbours on a ray being 1 apart: a star with its
      junction at the origin, or a circle if the graph is no star.
    """
    rays = _rays(edges)
    if rays is None:
        return _circle(edges)
    junction, rays = rays
    angles = _angles(rays, source, goal)
    # With many rays the first nodes would touch: they start further out.
    start = max(1.0, 1.15 * len(rays) / (2 * math.pi))
    position = {junction: (0.0, 0.0)}
    for ray, angle in zip(rays, angles, strict=True):
        for i, node in enumerate(ray):
            radius = start + i
            position[node] = (radius * math.cos(angle), radius * math.sin(angle))
    return position


def _rays(edges: Sequence[TextEdge]) -> tuple[str, list[list[str]]] | None:
    """The junction and the chains that leave or enter it; None if no star."""
    edges = list(dict.fromkeys(edges))
    after, before = {}, {}
    for u, v in edges:
        after.setdefault(u, []).append(v)
        before.setdefault(v, []).append(u)
    nodes = list(dict.fromkeys(itertools.chain.from_iterable(edges)))
    # Only at the junction several edges leave, or several arrive.
    junction = max(
        nodes, key=lambda n: max(len(after.get(n, ())), len(before.get(n, ())))
    )
    seen = {junction}
    rays = []
    for neighbours in (after, before):
        for node in neighbours.get(junction, ()):
            ray = []
            while node is not None:
                if node in seen:
                    return None
                seen.add(node)
                ray.append(node)
                onward = neighbours.get(node, [])
                if len(onward) > 1:
                    return None
                node = onward[0] if onward else None
            rays.append(ray)
    # A tree has one edge less than nodes; then no edge joins two rays.
    is_star = len(seen) == len(nodes) and len(edges) == len(nodes) - 1
    return (junction, rays) if is_star else None


def _angles(
    rays: Sequence[Sequence[str]], source: str | None, goal: str | None
) -> list[float]:
    """Even angles: the goal's ray to the right, the source's to the left."""
    free = list(range(len(rays)))
    place = {}
    for node, wanted in ((goal, 0), (source, len(rays) // 2)):
        for i, ray in enumerate(rays):
            if node in ray and i not in place and wanted in free:
                place[i] = wanted
                free.remove(wanted)
    # Long rays and short ones in turn fill the square more evenly.
    others = [i for i in range(len(rays)) if i not in place]
    others.sort(key=lambda i: -len(rays[i]))
    half = (len(others) + 1) // 2
    mixed = others[:]
    mixed[::2], mixed[1::2] = others[:half], others[half:]
    place.update(zip(mixed, free, strict=True))
    return [2 * math.pi * place[i] / len(rays) for i in range(len(rays))]


def _circle(edges: Sequence[TextEdge]) -> dict[str, Point]:
    """All nodes on a circle, in the order of the edges."""
    nodes = list(dict.fromkeys(itertools.chain.from_iterable(edges)))
    radius = max(1.0, 1.5 * len(nodes) / (2 * math.pi))
    angles = [2 * math.pi * i / len(nodes) for i in range(len(nodes))]
    return {
        node: (radius * math.cos(angle), radius * math.sin(angle))
        for node, angle in zip(nodes, angles, strict=True)
    }
