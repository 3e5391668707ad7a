"""From strings to molecules and back."""

from rdkit import Chem, rdBase

# Canonical SMILES change with it.
RDKIT_VERSION = rdBase.rdkitVersion


def parse(text: str) -> Chem.Mol | None:
    """The molecule of a SMILES.

    Args:
      text: anything.

    Returns:
      The molecule, or None if the text does not parse, cannot be sanitised, or has
      no atom (an empty string parses). rdkit's complaints are not printed.
    """
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(text)
    return mol if mol is not None and mol.GetNumAtoms() else None


def canonical(text: str, *, stereo: bool = True) -> str | None:
    """The canonical SMILES of a string; None if it is not a molecule.

    Args:
      text: anything.
      stereo: keep stereo marks.
    """
    mol = parse(text)
    return None if mol is None else Chem.MolToSmiles(mol, isomericSmiles=stereo)


def flat(text: str) -> str | None:
    """Like `canonical`, without stereo marks but with isotopes.

    Args:
      text: anything.
    """
    mol = parse(text)
    if mol is None:
        return None
    Chem.RemoveStereochemistry(mol)
    return Chem.MolToSmiles(mol)


def is_connected(mol: Chem.Mol) -> bool:
    """Whether all atoms hang together."""
    return len(Chem.GetMolFrags(mol)) == 1
