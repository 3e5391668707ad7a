"""Properties of one molecule, and how far two sets are apart in one of them."""

import numpy as np
from rdkit import Chem
from rdkit.Chem import QED, Crippen, Descriptors
from rdkit.Contrib.SA_Score import sascorer

# Quality (GenMol, arXiv 2501.06158): at least so drug-like, at most so hard to make.
MIN_QED = 0.6
MAX_SA = 4.0

# Of a molecule: octanol-water partition (Wildman and Crippen, 1999); ease of
# synthesis from 1, easy, to 10 (Ertl and Schuffenhauer, 2009), as in rdkit's Contrib;
# drug-likeness from 0 to 1 (Bickerton et al., 2012); weight in g/mol.
PROPERTIES = {
    "logP": Crippen.MolLogP,
    "SA": sascorer.calculateScore,
    "QED": QED.qed,
    "weight": Descriptors.MolWt,
}


def properties(mol: Chem.Mol) -> dict[str, float]:
    """The values of `PROPERTIES`; 2 ms, most of it QED."""
    return {name: float(value(mol)) for name, value in PROPERTIES.items()}


def is_good(qed: float, sa: float) -> bool:
    """Whether a molecule counts for `quality`."""
    return qed >= MIN_QED and sa <= MAX_SA


def wasserstein(values: np.ndarray, reference: np.ndarray) -> float:
    """The distance of two samples on a line: the area between their distributions.

    Args:
      values: float[N], N >= 1.
      reference: float[R], R >= 1.

    Returns:
      Wasserstein-1 distance, in the unit of the values.
    """
    values, reference = np.sort(values), np.sort(reference)
    points = np.sort(np.concatenate([values, reference]))
    below = (
        np.searchsorted(sample, points[:-1], side="right") / len(sample)
        for sample in (values, reference)
    )
    return float(np.sum(np.abs(np.subtract(*below)) * np.diff(points)))
