"""What a molecule has to contain, and whether it does.

The five tasks are those of SAFE (arXiv 2310.10773), GenMol (arXiv 2501.06158) and
LoFlexMDM (arXiv 2602.18695). A model of bracket SAFE gets the fragments as the
beginning of a string, with a dot behind them, and writes the rest. Those papers write
the two fragments of a linker without cuts; here all fragments are cut where the
strings are that a model is trained on.
"""

import functools
from typing import NamedTuple

import numpy as np
from rdkit import Chem

from insertion_jax.chemistry import molecules, safe, safe_pieces
from insertion_jax.chemistry.smiles import tokenize
from insertion_jax.types import InputError

LINKER, MORPHING, MOTIF, DECORATION, SUPERSTRUCTURE = TASKS = (
    "linker_design",
    "scaffold_morphing",  # of the same input as a linker
    "motif_extension",
    "scaffold_decoration",
    "superstructure_generation",
)
ANY_MOLECULE = "de_novo"

_MAX_DRAWN_ENDS = 3
_EXAMPLE = "like 'c1ccccc1[*:1]'"


class Problem(NamedTuple):
    """What is asked for.

    Attributes:
      task: of `TASKS`, or `ANY_MOLECULE`.
      fragments: canonical SMILES without stereo marks, of one part or of more with
        dots between them, with `*` at open ends; "" for nothing.
      molecule: canonical SMILES without stereo marks of the molecule that the fragments
        are of, or None.
    """

    task: str
    fragments: str
    molecule: str | None = None


def problem(text: str, molecule: str | None = None, task: str | None = None) -> Problem:
    """Reads what a person asks for.

    Args:
      text: SMILES of a fragment, its open ends marked `*` or `[*:1]`, or of two with a
        dot between them.
      molecule: SMILES that the fragments are of, if it is known.
      task: of `TASKS`; None for what the text looks like: two fragments are to be linked,
        one without open ends is a superstructure's, one with a single open end a motif,
        with more of them a scaffold.

    Raises:
      InputError: a text cannot be read, or is not what the task needs.
    """
    flat = without_marks(text)
    source = None if molecule is None else molecules.flat(molecule)
    if molecule is not None and source is None:
        raise InputError(f"{molecule!r} is not a molecule that rdkit can read.")
    found = task or task_of(flat)
    parts = flat.split(".")
    wanted = 2 if found in (LINKER, MORPHING) else 1
    if len(parts) != wanted:
        raise InputError(
            f"{text!r} has {len(parts)} part{'s' * (len(parts) > 1)}, but "
            f"{found} takes {wanted}."
        )
    if found != SUPERSTRUCTURE:
        check_open_ends(text)
    if wanted == 2 and any(part.count("*") != 1 for part in parts):
        raise InputError(
            f"Each of the fragments {text!r} must have one attachment point, {_EXAMPLE}."
        )
    return Problem(found, flat, source)


def task_of(fragments: str) -> str:
    """The task that fragments look like.

    Args:
      fragments: as of `Problem`.
    """
    if not fragments:
        return ANY_MOLECULE
    if "." in fragments:
        return LINKER
    ends = fragments.count("*")
    return {0: SUPERSTRUCTURE, 1: MOTIF}.get(ends, DECORATION)


def check_open_ends(text: str) -> None:
    """Raises an InputError if a fragment has no open end, where nothing can be added."""
    for part in text.split("."):
        if "*" not in part:
            raise InputError(
                f"The fragment {part!r} has no attachment point: mark where it may be "
                f"continued, {_EXAMPLE}."
            )


def without_marks(text: str) -> str:
    """Canonical SMILES without stereo marks and names of open ends, parts as they came.

    Raises:
      InputError: rdkit cannot read a part.
    """
    parts = []
    for part in text.split("."):
        mol = molecules.parse(part)
        if mol is None:
            raise InputError(f"{part!r} is not a molecule that rdkit can read.")
        for atom in mol.GetAtoms():
            atom.SetAtomMapNum(0)
            if atom.GetAtomicNum() == 0:
                atom.SetIsotope(0)
        parts.append(molecules.flat(Chem.MolToSmiles(mol)))
    return ".".join(parts)


def beginning(fragments: str) -> list[str]:
    """How fragments stand at the beginning of a string of bracket SAFE; 3 ms each.

    Args:
      fragments: SMILES with open ends.

    Returns:
      Tokens of the pieces of each, in the order in which they are given, and a dot.

    Raises:
      InputError: a fragment cannot be read, or its open ends not be written as labels.
    """
    pieces = []
    for number, part in enumerate(without_marks(fragments).split(".")):
        for piece in safe_pieces.split(tokenize(safe.encode(part))):
            # No label of one fragment is that of another.
            own = f"<{number}_"
            pieces.append(
                [t.replace("<", own) if safe.is_label(t) else t for t in piece]
            )
    return [*safe_pieces.joined(pieces), "."]


def with_open_ends(fragment: str, rng: np.random.Generator) -> str:
    """A fragment with up to three open ends at random, where it has hydrogen.

    Args:
      fragment: SMILES.
      rng: draws how many, from 1 to 3, and where.

    Raises:
      InputError: no atom has a hydrogen.
    """
    mol = Chem.RWMol(molecules.parse(fragment))
    free = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetTotalNumHs()]
    if not free:
        raise InputError(f"The fragment {fragment!r} has no hydrogen to replace.")
    count = min(int(rng.integers(1, _MAX_DRAWN_ENDS + 1)), len(free))
    for i in rng.choice(free, count, replace=False).tolist():
        atom = mol.GetAtomWithIdx(i)
        atom.SetNumExplicitHs(max(atom.GetNumExplicitHs() - 1, 0))
        mol.AddBond(i, mol.AddAtom(Chem.Atom(0)), Chem.BondType.SINGLE)
    return Chem.MolToSmiles(mol)


def contains(molecule: str, fragments: str) -> bool:
    """Whether a molecule has all fragments as parts that do not overlap.

    Several molecules side by side are no answer: fragments that are to be joined might
    lie in two of them.

    Args:
      molecule: SMILES that rdkit can read.
      fragments: as of `Problem`. Open ends do not count, nor do stereo marks. Nothing is
        in any molecule, or molecules.
    """
    if not fragments:
        return True
    mol = molecules.parse(molecule)
    # A dot alone would not tell: the pieces of SAFE are bonded across dots.
    if len(Chem.GetMolFrags(mol)) > 1:
        return False
    return mol.HasSubstructMatch(_query(fragments))


@functools.lru_cache(maxsize=4096)
def _query(fragments):
    """The atoms of fragments; what is cut off at open ends is not filled with hydrogen."""
    mol = Chem.RWMol(molecules.parse(fragments))
    for i in reversed(range(mol.GetNumAtoms())):
        if mol.GetAtomWithIdx(i).GetAtomicNum() == 0:
            mol.RemoveAtom(i)
    return mol.GetMol()
