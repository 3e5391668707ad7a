"""The Fréchet ChemNet distance (Preuer et al., J. Chem. Inf. Model. 2018).

Two sets of molecules are compared by the means and covariances of their ChemNet
features. The estimate has a bias that depends on how many molecules there are: real
ones, too, are at a distance of about 1,200 / n. A distance without n, and without the
floor that real molecules reach at that n, says little.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from insertion_jax.types import InputError

# Distance of random MOSES training molecules to the statistics of MOSES' test and
# scaffold-test set, by their number; one draw each, up to 300 the mean of five.
MOSES_FLOORS = {
    "test": {
        100: 12.7,
        200: 7.01,
        300: 4.67,
        500: 2.76,
        1_000: 1.24,
        2_000: 0.640,
        3_000: 0.429,
        5_000: 0.260,
        10_000: 0.132,
        20_000: 0.070,
        30_000: 0.048,
    },
    "test_scaffolds": {
        100: 13.1,
        200: 7.43,
        300: 5.13,
        500: 3.21,
        1_000: 1.70,
        2_000: 1.07,
        3_000: 0.866,
        5_000: 0.737,
        10_000: 0.629,
        20_000: 0.542,
        30_000: 0.519,
    },
}


class Gaussian(NamedTuple):
    """What the distance knows of a set.

    Attributes:
      mean: float64[512].
      covariance: float64[512, 512].
    """

    mean: np.ndarray
    covariance: np.ndarray


def gaussian(features: np.ndarray) -> Gaussian:
    """Mean and covariance of features.

    Args:
      features: float[N, 512].

    Raises:
      InputError: there are fewer than two rows.
    """
    if len(features) < 2:
        raise InputError(
            f"The Fréchet ChemNet distance needs two valid molecules or more, not "
            f"{len(features)}."
        )
    features = np.asarray(features, np.float64)
    return Gaussian(features.mean(axis=0), np.cov(features.T))


def distance(one: Gaussian, other: Gaussian) -> float:
    """|m - n|^2 + tr(C) + tr(D) - 2 tr((C D)^(1/2)), in float64.

    The last trace is the sum of the roots of the eigenvalues of D^(1/2) C D^(1/2),
    which is symmetric; so it exists where fewer than 512 molecules leave a covariance
    singular. 0.3 s.

    Args:
      one: of a set.
      other: of another.
    """
    values, vectors = np.linalg.eigh(other.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ one.covariance @ root)
    offset = one.mean - other.mean
    return float(
        offset @ offset
        + np.trace(one.covariance)
        + np.trace(other.covariance)
        - 2 * np.sqrt(np.maximum(product, 0)).sum()
    )


def floor(
    features: np.ndarray,
    other: Gaussian,
    num_molecules: int,
    *,
    num_draws: int = 5,
    seed: int = 0,
) -> tuple[float, float]:
    """The distance that real molecules reach at a size.

    Args:
      features: float[N, 512] of real molecules, N >= `num_molecules`, which are not
        those of `other`.
      other: of the reference set.
      num_molecules: n.
      num_draws: random subsets to average over.
      seed: of their choice.

    Returns:
      Mean and standard deviation over the subsets, which overlap if N is small.

    Raises:
      InputError: there are fewer real molecules.
    """
    if len(features) < num_molecules:
        raise InputError(
            f"The floor at {num_molecules} molecules needs the features of as many real "
            f"ones, not of {len(features)}."
        )
    rng = np.random.default_rng(seed)
    found = [
        distance(gaussian(features[chosen]), other)
        for chosen in (
            rng.choice(len(features), num_molecules, replace=False)
            for _ in range(num_draws)
        )
    ]
    return float(np.mean(found)), float(np.std(found))


def floor_at(floors: Mapping[int, float], num_molecules: int) -> float:
    """A floor between the sizes at which it was measured, by a power law.

    Args:
      floors: from sizes to distances, such as one of `MOSES_FLOORS`.
      num_molecules: n.

    Returns:
      NaN below the first size; beyond the last one, its own floor, which is too large.
    """
    sizes, values = np.log(sorted(floors.items())).T
    size = math.log(max(num_molecules, 1))
    return math.nan if size < sizes[0] else math.exp(np.interp(size, sizes, values))


def guacamol_score(value: float) -> float:
    """GuacaMol's score of a distance, exp(-0.2 FCD), from 0 to 1."""
    return math.exp(-0.2 * value)
