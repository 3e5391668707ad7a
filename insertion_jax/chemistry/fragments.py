"""Double cuts: a molecule as two fragments and the linker between them.

Two single bonds outside rings are cut so that three pieces result. The middle one,
which holds both attachment points, is the linker. The pieces are written so that
their strings, one after the other, are a SMILES of the molecule: `first`, at whose
end the next atom bonds to its attachment atom; `linker`, whose main chain runs from
one attachment atom to the other; and `second`, which begins at its own.
"""

from typing import NamedTuple

from rdkit import Chem
from rdkit.Chem import rdMMPA

from insertion_jax.chemistry import molecules, smiles_tree
from insertion_jax.chemistry.smiles import tokenize
from insertion_jax.types import InputError


class CutRule(NamedTuple):
    """Which double cuts count. The defaults are DeLinker's (Imrie et al., 2020).

    Attributes:
      min_linker: heavy atoms of the linker at least.
      min_fragment: heavy atoms of each fragment at least.
      min_path: atoms on the shortest path between the attachment points, at least.
      linker_is_smallest: the linker has no more heavy atoms than either fragment.
      max_bonds: molecules with more bonds that could be cut are left out.
    """

    min_linker: int = 3
    min_fragment: int = 5
    min_path: int = 2
    linker_is_smallest: bool = True
    max_bonds: int = 20


class Cut(NamedTuple):
    """A double cut; canonical SMILES without stereo marks.

    Attributes:
      molecule: what was cut.
      linker: with `[*:1]` and `[*:2]` at its ends.
      fragments: with `[*:1]` and `[*:2]`.
    """

    molecule: str
    linker: str
    fragments: tuple[str, str]


class LinkerStrings(NamedTuple):
    """Three strings that together are a SMILES, each ring label in one of them.

    Attributes:
      first: fragment 1; what follows it bonds to its first atom.
      linker: with the bond symbols to the fragments, if they need any.
      second: fragment 2; what precedes it bonds to its first atom.
    """

    first: str
    linker: str
    second: str


DELINKER = CutRule()


def double_cuts(text: str, rule: CutRule = DELINKER) -> list[Cut]:
    """All double cuts of a molecule that a rule allows; 4 ms a molecule of MOSES.

    Args:
      text: SMILES.
      rule: which cuts count.

    Returns:
      Cuts, each once, in an order that depends on the molecule alone; none of a
      mixture. The fragment whose SMILES sorts first has `[*:1]`.

    Raises:
      InputError: the text is not a molecule.
    """
    flat = molecules.flat(text)
    if flat is None:
        raise InputError(f"{text!r} is not a molecule that rdkit can read.")
    if "." in flat:
        return []
    pieces = rdMMPA.FragmentMol(
        Chem.MolFromSmiles(flat), minCuts=2, maxCuts=2, maxCutBonds=rule.max_bonds
    )
    cuts = {
        Cut(flat, *_ordered(Chem.MolToSmiles(linker), Chem.MolToSmiles(fragments)))
        for linker, fragments in pieces
        if _allowed(linker, fragments, rule)
    }
    return sorted(cuts)


def _allowed(linker, fragments, rule):
    # Dummy atoms don't count as heavy.
    size = linker.GetNumHeavyAtoms()
    if size < rule.min_linker:
        return False
    smallest = min(len(part) - 1 for part in Chem.GetMolFrags(fragments))
    if smallest < rule.min_fragment or (rule.linker_is_smallest and size > smallest):
        return False
    ends = [atom.GetIdx() for atom in linker.GetAtoms() if atom.GetAtomicNum() == 0]
    return len(Chem.GetShortestPath(linker, *ends)) - 2 >= rule.min_path


def _ordered(linker, fragments):
    """Numbers the attachment points by the canonical SMILES of the fragments."""
    parts = []
    for part in fragments.split("."):
        number = 1 if "[*:1]" in part else 2
        parts.append((molecules.canonical(part.replace(f"[*:{number}]", "*")), number))
    parts.sort()
    renumber = {number: i + 1 for i, (_, number) in enumerate(parts)}
    return (
        _with_numbers(linker, renumber),
        (_with_numbers(parts[0][0], {0: 1}), _with_numbers(parts[1][0], {0: 2})),
    )


def _with_numbers(text, renumber):
    mol = Chem.MolFromSmiles(text)
    for atom in mol.GetAtoms():
        if atom.GetAtomicNum() == 0:
            atom.SetAtomMapNum(renumber[atom.GetAtomMapNum()])
    return Chem.MolToSmiles(mol)


def plain_linker(linker: str) -> str:
    """A linker whichever way round it is: canonical, both attachment points `*`.

    Args:
      linker: SMILES with two attachment points.
    """
    mol = Chem.MolFromSmiles(linker)
    for atom in mol.GetAtoms():
        if atom.GetAtomicNum() == 0:
            atom.SetAtomMapNum(0)
            atom.SetIsotope(0)
    Chem.RemoveStereochemistry(mol)
    return Chem.MolToSmiles(mol)


def numbered_linkers(linker: str) -> tuple[str, ...]:
    """The ways to number a linker's ends: one if they are numbered, else up to two.

    Args:
      linker: SMILES with `[*:1]` and `[*:2]`, or with `*` twice.

    Returns:
      Canonical SMILES with `[*:1]` and `[*:2]`.

    Raises:
      InputError: it cannot be read, is not in one piece, or has other attachment points.
    """
    flat = molecules.flat(linker)
    if flat is None:
        raise InputError(f"The linker {linker!r} cannot be read by rdkit.")
    mol = Chem.MolFromSmiles(flat)
    ends = [atom for atom in mol.GetAtoms() if atom.GetAtomicNum() == 0]
    numbers = [atom.GetAtomMapNum() for atom in ends]
    single = [atom.GetDegree() == 1 for atom in ends]
    if sorted(numbers) not in ([0, 0], [1, 2]) or not all(single) or "." in flat:
        raise InputError(
            f"The linker {linker!r} must be one piece with two attachment points, like "
            "'O=C(C[*:1])N[*:2]'."
        )
    if numbers != [0, 0]:
        return (flat,)
    ways = []
    for one, other in ((1, 2), (2, 1)):
        ends[0].SetAtomMapNum(one)
        ends[1].SetAtomMapNum(other)
        ways.append(Chem.MolToSmiles(mol))
    return tuple(dict.fromkeys(ways))


def parse_fragments(text: str) -> tuple[str, str]:
    """Reads two fragments such as `c1ccccc1[*:1].CC(=O)N[*:2]`.

    Args:
      text: SMILES of two parts, with an attachment point each: `[*:1]` and `[*:2]`,
        or `*` twice, numbered from left to right.

    Returns:
      Canonical SMILES without stereo marks, `[*:1]`'s first.

    Raises:
      InputError: it cannot be read, has another number of parts, or a part that has
        no attachment point, two, or one that is not bonded to one atom by a single
        bond.
    """
    parts = text.strip().split(".")
    if len(parts) != 2:
        raise InputError(
            f"{text!r} has {len(parts)} part{'s' * (len(parts) != 1)}: two fragments "
            "are needed, separated by a dot, like 'c1ccccc1[*:1].CC(=O)N[*:2]'."
        )
    numbered = []
    for part in parts:
        flat = molecules.flat(part)
        if flat is None:
            raise InputError(f"The fragment {part!r} cannot be read by rdkit.")
        numbered.append((_attachment(flat, part), flat))
    numbers = [number for number, _ in numbered]
    if numbers == [0, 0]:
        numbered = [(i + 1, flat) for i, (_, flat) in enumerate(numbered)]
    elif sorted(numbers) != [1, 2]:
        raise InputError(
            f"The attachment points of {text!r} must be [*:1] and [*:2], one in each "
            "fragment, or * in both."
        )
    ends = {0: 0} | {number: number for number, _ in numbered}
    first, second = (
        _with_numbers(flat, ends | {0: number}) for number, flat in sorted(numbered)
    )
    return first, second


def _attachment(flat, part):
    """The number of the one attachment point of a fragment."""
    mol = Chem.MolFromSmiles(flat)
    ends = [atom for atom in mol.GetAtoms() if atom.GetAtomicNum() == 0]
    if len(ends) != 1:
        raise InputError(
            f"The fragment {part!r} has {len(ends) or 'no'} attachment "
            f"point{'s' * (len(ends) > 1)}: mark the one atom to which the linker "
            "bonds, like 'c1ccccc1[*:1]'."
        )
    bonds = ends[0].GetBonds()
    if len(bonds) != 1 or bonds[0].GetBondType() != Chem.BondType.SINGLE:
        raise InputError(
            f"The attachment point of the fragment {part!r} must have one single bond."
        )
    return ends[0].GetAtomMapNum()


def fragment_strings(fragments: tuple[str, str]) -> tuple[str, str]:
    """How two fragments stand on the canvas, before and after the linker.

    They depend on the fragments alone, never on a linker.

    Args:
      fragments: with `[*:1]` and `[*:2]`, as of `parse_fragments`.

    Returns:
      `first` and `second` of `LinkerStrings`; second's ring labels go on where
      first's end.
    """
    before, after = (_rooted(fragment) for fragment in fragments)
    # Number 0 is the attachment point, number 1 the atom that it marks.
    return (
        smiles_tree.write(before, 1, close_root=True),
        smiles_tree.write(after, 1, first_ring=1 + smiles_tree.num_rings(before)),
    )


def _rooted(fragment):
    """The tree of a fragment that begins with its attachment point."""
    mol = Chem.MolFromSmiles(fragment.replace("[*:1]", "*").replace("[*:2]", "*"))
    (end,) = (atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() == 0)
    return smiles_tree.read(Chem.MolToSmiles(mol, rootedAtAtom=end))


def linker_string(linker: str, fragments: tuple[str, str]) -> str:
    """How a linker is written between two fragments.

    Args:
      linker: SMILES with `[*:1]` and `[*:2]`.
      fragments: with `[*:1]` and `[*:2]`.

    Returns:
      `linker` of `LinkerStrings`; its ring labels go on where the fragments' end. A
      bond between two aromatic atoms has its `-`, as without it would be aromatic.
    """
    mol = Chem.MolFromSmiles(linker)
    Chem.RemoveStereochemistry(mol)
    ends = {}
    for atom in mol.GetAtoms():
        if number := atom.GetAtomMapNum():
            ends[number] = atom.GetIdx()
            # Isotopes, unlike numbers, stay with the dummies when all are written.
            atom.SetIsotope(number)
            atom.SetAtomMapNum(0)
    nodes = smiles_tree.read(Chem.MolToSmiles(mol, rootedAtAtom=ends[1]))
    (end,) = (i for i, node in enumerate(nodes) if node.atom == "[2*]")
    chain = smiles_tree.path_to(nodes, end)[1:]
    trees = [_rooted(fragment) for fragment in fragments]
    written = smiles_tree.write(
        nodes,
        chain[0],
        last=chain,
        first_ring=1 + sum(map(smiles_tree.num_rings, trees)),
    )
    written = written.removesuffix("[2*]").removesuffix("-")
    joints = [
        "-" if _is_aromatic(nodes[inner].atom) and _is_aromatic(tree[1].atom) else ""
        for inner, tree in zip((chain[0], chain[-2]), trees, strict=True)
    ]
    return joints[0] + written + joints[1]


def _is_aromatic(atom):
    return atom.strip("[0123456789")[0].islower()


def linker_strings(cut: Cut) -> LinkerStrings:
    """Writes a cut molecule as three strings.

    Args:
      cut: of `double_cuts` or of a person.

    Returns:
      The strings; joined they are a SMILES of the molecule, and the tokens of the
      whole are those of its parts.

    Raises:
      InputError: the strings do not give the molecule back.
    """
    first, second = fragment_strings(cut.fragments)
    strings = LinkerStrings(first, linker_string(cut.linker, cut.fragments), second)
    whole = "".join(strings)
    if molecules.flat(whole) != molecules.flat(cut.molecule):
        raise InputError(
            f"The fragments {'.'.join(cut.fragments)!r} and the linker {cut.linker!r} "
            f"do not make the molecule {cut.molecule!r}."
        )
    if tokenize(whole) != [token for part in strings for token in tokenize(part)]:
        raise InputError(f"The pieces of {whole!r} share a token.")
    return strings
