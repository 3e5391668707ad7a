"""Bracket SAFE: a molecule as fragments, joined by dots, with labels where they bond.

`CC(=O)Nc1ccccc1` becomes `CC<1>=O.N<1><2>.c1<2>ccccc1`: two equal labels are one
bond. SAFE (arXiv 2310.10773) writes labels as ring digits, so that a SAFE string is
a SMILES; here they are tokens of their own, `<n>`, so that no fragment's digits
depend on another fragment (the bracket variant of GenMol, arXiv 2501.06158). BRICS
bonds are cut (Degen et al., ChemMedChem 2008).

A fragment's open ends, `[*:1]` or `*` in SMILES, are labels that come once.
"""

import itertools
from collections import Counter

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import BRICS

from insertion_jax.chemistry import molecules
from insertion_jax.chemistry.smiles import kind, ring_label, tokenize
from insertion_jax.types import InputError

# Isotopes that mark cut bonds while fragments are written; no element has them.
_FIRST_MARK = 1000


def encode(
    text: str, rng: np.random.Generator | None = None, *, cut: bool = True
) -> str:
    """Writes a molecule, or a fragment with open ends, as bracket SAFE.

    Takes 3 ms a molecule, most of it to check that it decodes.

    Args:
      text: SMILES.
      rng: draws the order of fragments, and of the atoms of each; None gives the
        same string for every SMILES of a molecule, and writes a fragment the same way
        whatever it was cut from.
      cut: cut BRICS bonds; if not, the pieces are the parts between dots.

    Returns:
      A string that decodes to the same molecule. Where labels would change it
      (a stereo mark at a cut bond), the molecule is written without cuts.

    Raises:
      InputError: the text is not a molecule, or its open ends cannot be written
        as labels.
    """
    mol = molecules.parse(text)
    if mol is None:
        raise InputError(f"{text!r} is not a molecule that rdkit can read.")
    # Labels, names of open ends in any case, may not decide the order of atoms.
    for atom in mol.GetAtoms():
        if atom.GetAtomicNum() == 0:
            atom.SetIsotope(0)
        atom.SetAtomMapNum(0)
    mol = Chem.MolFromSmiles(Chem.MolToSmiles(mol))
    source = Chem.MolToSmiles(mol)
    has_open_ends = any(atom.GetAtomicNum() == 0 for atom in mol.GetAtoms())
    for bonds in (_brics_bonds(mol), []) if cut else ([],):
        written = _write(mol, bonds, rng)
        if fragments_of(written) == source:
            return written
    if has_open_ends:
        raise InputError(
            f"The open ends of {text!r} cannot be written as labels: each must be "
            "bonded to one atom of a fragment."
        )
    return source


def decode(text: str) -> str:
    """The SMILES of a bracket-SAFE string: labels become ring labels not in use.

    Args:
      text: bracket SAFE, perhaps a model's.

    Returns:
      A string that may fail to parse: a label that comes an odd number of times is a
      ring that is not closed. Nothing is repaired.

    Raises:
      InputError: the text has characters that no token has.
    """
    tokens = tokenize(text)
    used = {_ring_number(token) for token in tokens if token[0].isdigit()}
    used |= {_ring_number(token) for token in tokens if token[0] == "%"}
    free = (number for number in itertools.count(1) if number not in used)
    labels = {}
    for token in tokens:
        if is_label(token) and token not in labels:
            labels[token] = ring_label(next(free))
    return "".join(labels.get(token, token) for token in tokens)


def fragments_of(text: str) -> str | None:
    """Like `decode`, but labels that come once are open ends.

    Args:
      text: bracket SAFE.

    Returns:
      Canonical SMILES with `*` at the open ends; None if it is no molecule.

    Raises:
      InputError: the text has characters that no token has.
    """
    return molecules.canonical(decode(_closed(text)))


def decode_leniently(text: str) -> str | None:
    """The largest molecule that can be made of a model's bracket SAFE.

    This raises validity, and by how much is not a property of the model alone:
    report it beside that of `decode`. As in the evaluation of FlexMDM and LoFlexMDM,
    a label alone in parentheses is unwrapped, pieces between dots that are no
    fragment are dropped, and of what remains the longest part between dots is kept;
    labels without a partner become hydrogen.

    Args:
      text: bracket SAFE.

    Returns:
      Canonical SMILES, or None if no piece can be read.
    """
    try:
        tokens = _unwrapped(tokenize(text))
    except InputError:
        return None
    pieces = [
        list(piece) for dot, piece in itertools.groupby(tokens, ".".__eq__) if not dot
    ]
    readable = [piece for piece in pieces if fragments_of("".join(piece)) is not None]
    smiles = fragments_of(".".join(map("".join, readable)))
    if smiles is None:
        return None
    mol = Chem.DeleteSubstructs(Chem.MolFromSmiles(smiles), Chem.MolFromSmarts("[#0]"))
    with rdBase.BlockLogs():
        parts = Chem.MolToSmiles(mol).split(".")
    return molecules.canonical(max(parts, key=len))


def is_label(token: str) -> bool:
    """Whether a token is a label, `<n>`; `<-` is a bond."""
    return token[0] == "<" and token != "<-"


def _ring_number(token):
    return int(token.strip("%()"))


def _brics_bonds(mol):
    """Indices of the bonds that BRICS cuts and that carry no stereo mark."""
    pairs = {frozenset(atoms) for atoms, _ in BRICS.FindBRICSBonds(mol)}
    bonds = [mol.GetBondBetweenAtoms(*pair) for pair in pairs]
    unmarked = Chem.BondStereo.STEREONONE
    return sorted(bond.GetIdx() for bond in bonds if bond.GetStereo() == unmarked)


def _write(mol, bonds, rng):
    """Cuts bonds, writes the pieces, and turns dummy atoms into labels."""
    mol = Chem.Mol(mol)
    marks = itertools.count(_FIRST_MARK)
    labels = [(mark, mark) for mark in itertools.islice(marks, len(bonds))]
    if bonds:
        mol = Chem.FragmentOnBonds(mol, bonds, dummyLabels=labels)
    for atom in mol.GetAtoms():
        if atom.GetAtomicNum() == 0 and not atom.GetIsotope():
            atom.SetIsotope(next(marks))
    with rdBase.BlockLogs():
        pieces = Chem.GetMolFrags(mol, asMols=True, sanitizeFrags=False)
    if rng is not None:
        pieces = [pieces[i] for i in rng.permutation(len(pieces))]
    tokens = tokenize(".".join(_rooted(piece, rng) for piece in pieces))
    numbers = {}
    return "".join(
        f"<{numbers.setdefault(token, len(numbers) + 1)}>" if _is_mark(token) else token
        for token in _unwrapped(tokens)
    )


def _rooted(piece, rng):
    """The SMILES of a piece, beginning with an atom that is not a dummy."""
    if rng is None:
        return _spelled(piece)
    atoms = [atom.GetIdx() for atom in piece.GetAtoms() if atom.GetAtomicNum()]
    order = rng.permutation(piece.GetNumAtoms()).tolist()
    piece = Chem.RenumberAtoms(piece, order)
    root = order.index(int(rng.choice(atoms))) if atoms else -1
    return Chem.MolToSmiles(piece, canonical=False, rootedAtAtom=root)


def _spelled(piece):
    """The same for a piece whatever it was cut from: marks do not decide the order."""
    piece, marks = Chem.Mol(piece), {}
    for atom in piece.GetAtoms():
        if atom.GetAtomicNum() == 0:
            marks[atom.GetIdx()] = atom.GetIsotope()
            atom.SetIsotope(0)
    Chem.MolToSmiles(piece)
    root = next((i for i in _written_order(piece) if i not in marks), -1)
    tokens = tokenize(Chem.MolToSmiles(piece, rootedAtAtom=root))
    ends = (marks[i] for i in _written_order(piece) if i in marks)
    return "".join(f"[{next(ends)}*]" if token == "*" else token for token in tokens)


def _written_order(mol):
    """Numbers of the atoms in the order of the SMILES that was written last."""
    return list(mol.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])


def _is_mark(token):
    return token.startswith("[") and token.endswith("*]") and len(token) > 5


def _unwrapped(tokens):
    """Takes a label out of parentheses of its own: `C(=<3>)C` is `C=<3>C`."""
    result = []
    for token in tokens:
        result.append(token)
        for size in (3, 4):
            group = result[-size:]
            is_group = len(group) == size and group[0] == "(" and token == ")"
            bonds = group[1:-2]
            if is_group and _is_end(group[-2]) and all(map(_is_bond, bonds)):
                result[-size:] = group[1:-1]
    return result


def _is_bond(token):
    return kind(token) == "bond"


def _is_end(token):
    return is_label(token) or _is_mark(token)


def _closed(text):
    """Bonds a dummy atom to every label that has no partner."""
    counts = Counter(filter(is_label, tokenize(text)))
    return ".".join([text, *(f"*{label}" for label in counts if counts[label] % 2)])
