"""A SMILES as the tree of its branches, to write its branches in another order.

rdkit chooses the order of branches itself; a string that has to end at a given atom
needs another one. Only the order changes: atoms and bonds are written as rdkit wrote
them.
"""

import dataclasses
from collections.abc import Iterable, Iterator

from insertion_jax.chemistry.smiles import kind, ring_label, tokenize


@dataclasses.dataclass
class Node:
    """An atom with what follows it.

    Attributes:
      bond: the bond symbol before it, or "".
      atom: its token.
      parent: number of the atom it is bonded to; -1 for the first.
      rings: of each ring label its bond symbol and the number of the ring bond.
      children: numbers of the atoms that begin its branches.
    """

    bond: str
    atom: str
    parent: int
    rings: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    children: list[int] = dataclasses.field(default_factory=list)


def read(smiles: str) -> list[Node]:
    """Reads one component.

    Every ring bond gets a number of its own, so that labels that were used twice do
    not meet when branches move.

    Args:
      smiles: a valid SMILES without dots and without stereo marks, whose meaning
        depends on the order of branches.

    Returns:
      Its atoms in the order of the string.
    """
    nodes, stack, open_rings = [], [], {}
    current, bond, num_rings = -1, "", 0
    for token in tokenize(smiles):
        match kind(token):
            case "atom":
                nodes.append(Node(bond, token, current))
                if current >= 0:
                    nodes[current].children.append(len(nodes) - 1)
                current, bond = len(nodes) - 1, ""
            case "bond":
                bond = token
            case "ring":
                if token in open_rings:
                    ring = open_rings.pop(token)
                else:
                    ring = open_rings[token] = num_rings
                    num_rings += 1
                nodes[current].rings.append((bond, ring))
                bond = ""
            case "parenthesis" if token == "(":
                stack.append(current)
            case "parenthesis":
                current = stack.pop()
    return nodes


def num_rings(nodes: Iterable[Node]) -> int:
    """The number of ring bonds, each with two labels."""
    return sum(len(node.rings) for node in nodes) // 2


def path_to(nodes: list[Node], end: int) -> list[int]:
    """The atoms from the first one to `end`, both included."""
    path = [end]
    while nodes[path[-1]].parent >= 0:
        path.append(nodes[path[-1]].parent)
    return path[::-1]


def write(
    nodes: list[Node],
    root: int,
    *,
    last: Iterable[int] = (),
    close_root: bool = False,
    first_ring: int = 1,
) -> str:
    """Writes the branch that begins at an atom.

    Args:
      nodes: the tree.
      root: number of the atom; the bond before it is not written.
      last: atoms that come last among the branches of their atom.
      close_root: put all branches of the root in parentheses, so that what follows
        the string is bonded to the root.
      first_ring: the first ring label; no label is used twice.

    Returns:
      SMILES.
    """
    last, labels = set(last), {}

    def tokens_of(start: int) -> Iterator[str]:
        current = start
        while True:
            node = nodes[current]
            yield (node.bond if current != root else "") + node.atom
            for bond, ring in node.rings:
                yield bond + ring_label(
                    labels.setdefault(ring, first_ring + len(labels))
                )
            branches = sorted(node.children, key=last.__contains__)
            goes_on = branches and not (close_root and current == root)
            for branch in branches[:-1] if goes_on else branches:
                yield "("
                yield from tokens_of(branch)
                yield ")"
            if not goes_on:
                return
            current = branches[-1]

    return "".join(tokens_of(root))
