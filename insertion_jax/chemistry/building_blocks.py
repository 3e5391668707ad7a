"""BRICS fragments and Murcko scaffolds, and how alike their counts are."""

import math
from collections import Counter
from collections.abc import Mapping

from rdkit import Chem
from rdkit.Chem import BRICS
from rdkit.Chem.Scaffolds import MurckoScaffold

_MIN_RINGS = 2


def brics_fragments(mol: Chem.Mol) -> tuple[str, ...]:
    """The pieces of a molecule cut at its BRICS bonds, an uncut one itself.

    Args:
      mol: the molecule; 0.4 ms.

    Returns:
      SMILES, repeated as often as they come.
    """
    return tuple(Chem.MolToSmiles(BRICS.BreakBRICSBonds(mol)).split("."))


def murcko_scaffold(mol: Chem.Mol) -> str | None:
    """The rings of a molecule and what joins them (Bemis and Murcko, 1996).

    Args:
      mol: the molecule; 0.1 ms.

    Returns:
      SMILES, or None of a scaffold of fewer than two rings, which MOSES leaves out.
    """
    scaffold = MurckoScaffold.GetScaffoldForMol(mol)
    if scaffold.GetRingInfo().NumRings() < _MIN_RINGS:
        return None
    return Chem.MolToSmiles(scaffold)


def cosine(counts: Mapping[str, int], reference: Mapping[str, int]) -> float:
    """The cosine of two vectors of counts.

    Of fragments it is Frag, of scaffolds Scaf of MOSES. Scaf grows with the number of
    molecules: compare it at equal numbers only.

    Returns:
      0 to 1; NaN if one is empty.
    """
    norms = [
        math.sqrt(math.fsum(n * n for n in c.values())) for c in (counts, reference)
    ]
    if not all(norms):
        return math.nan
    shared = math.fsum(
        counts[key] * reference[key] for key in counts if key in reference
    )
    return shared / (norms[0] * norms[1])


def count(names) -> Counter:
    """How often each name comes; None is left out."""
    return Counter(name for name in names if name is not None)
