"""The scores of GuacaMol (Brown et al., J. Chem. Inf. Model. 2019).

They differ from those of MOSES by the same names: stereo marks are dropped, novelty
and uniqueness are shares of what was asked for, and the suite draws again until it
has enough valid, or unique, samples. That makes up for invalid ones; these functions
take what they are given.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from rdkit.Chem import (
    Crippen,
    Descriptors,
    GraphDescriptors,
    Lipinski,
    rdMolDescriptors,
)

from insertion_jax.chemistry import molecules, similarity
from insertion_jax.types import InputError

_CONTINUOUS = {
    "BertzCT": GraphDescriptors.BertzCT,
    "MolLogP": Crippen.MolLogP,
    "MolWt": Descriptors.MolWt,
    "TPSA": rdMolDescriptors.CalcTPSA,
}
_DISCRETE = {
    "NumHAcceptors": Lipinski.NumHAcceptors,
    "NumHDonors": Lipinski.NumHDonors,
    "NumRotatableBonds": Lipinski.NumRotatableBonds,
    "NumAliphaticRings": Lipinski.NumAliphaticRings,
    "NumAromaticRings": Lipinski.NumAromaticRings,
}
_SIMILARITY = "internal_similarity"
_FINGERPRINT_BITS = 4096
_NUM_POINTS = 1000
_NUM_BINS = 10
_FLOOR = 1e-10


def descriptors(smiles: Sequence[str]) -> dict[str, np.ndarray]:
    """The ten quantities that the KL score compares; 3 ms a molecule.

    Args:
      smiles: N valid SMILES without stereo marks.

    Returns:
      float64[N] of each; the tenth is the largest similarity of a molecule and
      another one of the set.

    Raises:
      InputError: names one that rdkit cannot read.
    """
    mols = []
    for text in smiles:
        mols.append(molecules.parse(text))
        if mols[-1] is None:
            raise InputError(f"{text!r} is not a molecule that rdkit can read.")
    values = {
        name: np.array([value(mol) for mol in mols], np.float64)
        for name, value in (_CONTINUOUS | _DISCRETE).items()
    }
    prints = [similarity.fingerprint(mol, _FINGERPRINT_BITS) for mol in mols]
    shape = (len(prints), _FINGERPRINT_BITS // 8)
    values[_SIMILARITY] = similarity.largest_other(np.reshape(prints, shape))
    return values


def kl_scores(
    train: Mapping[str, np.ndarray], generated: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """exp(-D) of each quantity, D the divergence of train from generated in nats.

    GuacaMol's KL score is the mean of the ten, for as many unique samples as random
    training molecules.

    Args:
      train: `descriptors` of training molecules.
      generated: `descriptors` of samples.

    Returns:
      0 to 1. A quantity without a density, because all samples have one value or
      there are fewer than two, scores 0: an early model's may.
    """
    scores = {}
    for name in (*_CONTINUOUS, _SIMILARITY):
        divergence = continuous_divergence(train[name], generated[name])
        scores[name] = math.exp(-divergence)
    for name in _DISCRETE:
        scores[name] = math.exp(-discrete_divergence(train[name], generated[name]))
    return scores


def continuous_divergence(reference: np.ndarray, values: np.ndarray) -> float:
    """KL divergence of two kernel density estimates on 1,000 points.

    Args:
      reference: float64[R].
      values: float64[N].

    Returns:
      D(reference || values) in nats; infinite where one has no density.
    """
    if min(np.ptp(x) if len(x) > 1 else 0 for x in (reference, values)) == 0:
        return math.inf
    joint = np.concatenate([reference, values])
    points = np.linspace(joint.min(), joint.max(), _NUM_POINTS)
    return _divergence(_density(reference, points), _density(values, points))


def discrete_divergence(reference: np.ndarray, values: np.ndarray) -> float:
    """KL divergence of two histograms with the ten bins of the first.

    Args:
      reference: float64[R].
      values: float64[N]; what lies outside the bins is left out.

    Returns:
      D(reference || values) in nats; infinite where one is empty.
    """
    if not len(reference):
        return math.inf
    counts, edges = np.histogram(reference, bins=_NUM_BINS)
    others, _ = np.histogram(values, bins=edges)
    if not others.sum():
        return math.inf
    widths = np.diff(edges)
    return _divergence(counts / counts.sum() / widths, others / others.sum() / widths)


def _divergence(p, q):
    p, q = p + _FLOOR, q + _FLOOR
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum(p * np.log(p / q)))


def _density(sample, points):
    """Gaussian kernel density with Scott's bandwidth."""
    width = sample.std(ddof=1) * len(sample) ** (-1 / 5)
    total = np.zeros(len(points))
    for start in range(0, len(sample), 1000):
        offset = (points[:, None] - sample[start : start + 1000]) / width
        total += np.exp(-(offset**2) / 2).sum(axis=1)
    return total / (len(sample) * width * math.sqrt(2 * math.pi))
