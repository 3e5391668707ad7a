"""Rates of generated molecules: valid, unique, novel, good.

Suites mean different things by one name. These are MOSES' (arXiv 1811.12823):
uniqueness and novelty are shares of what is valid. `quality` has both definitions in
use. Each is a `Score`, so that it gets its interval (Wilson's) where it is summed up;
samples that repeat one another are not independent, which an interval of uniqueness
does not know.
"""

from collections.abc import Container, Sequence

import numpy as np

from insertion_jax.chemistry.descriptions import Description
from insertion_jax.chemistry.properties import is_good
from insertion_jax.types import Score


def valid(described: Sequence[Description | None]) -> Score:
    """Share of the samples that rdkit can read and that have an atom."""
    return _rate([d is not None for d in described])


def connected(described: Sequence[Description | None]) -> Score:
    """Share of the samples that are valid and one component."""
    return _rate([d is not None and d.connected for d in described])


def unique(described: Sequence[Description | None], first: int | None = None) -> Score:
    """Share of the first valid samples that do not repeat an earlier one.

    Args:
      described: N samples.
      first: how many valid samples count (MOSES: 1,000 and 10,000), or all that
        there are if they are fewer; None for all.
    """
    is_valid = np.array([d is not None for d in described], bool)
    counted = is_valid if first is None else is_valid & (is_valid.cumsum() <= first)
    return _rate(first_seen(described), counted)


def novel(described: Sequence[Description | None], train: Container[str]) -> Score:
    """Share of the unique valid samples that are not in the training set.

    Args:
      described: N samples.
      train: canonical SMILES by the rdkit that described the samples.
    """
    is_novel = [d is not None and d.smiles not in train for d in described]
    return _rate(is_novel, first_seen(described))


def unique_and_novel(
    described: Sequence[Description | None], train: Container[str]
) -> Score:
    """Share of all samples that are valid, not seen before and not in the training set.

    Args:
      described: N samples.
      train: as in `novel`.
    """
    is_novel = [d is not None and d.smiles not in train for d in described]
    return _rate(first_seen(described) & np.array(is_novel, bool))


def quality(described: Sequence[Description | None], *, unique: bool) -> Score:
    """Share of all samples with QED >= 0.6 and SA <= 4.

    Args:
      described: N samples.
      unique: count each molecule once (GenMol, arXiv 2501.06158); if not, as often as
        it comes (the release of LoFlexMDM, arXiv 2602.18695), which is never less.
    """
    good = [
        d is not None and is_good(d.properties["QED"], d.properties["SA"])
        for d in described
    ]
    return _rate(np.array(good, bool) & (first_seen(described) if unique else True))


def passes_filters(described: Sequence[Description | None]) -> Score:
    """Share of the valid samples that pass the filters they were described with."""
    return _rate(
        [d is not None and bool(d.passes_filters) for d in described],
        [d is not None for d in described],
    )


def mean_of(described: Sequence[Description | None], name: str) -> Score:
    """The mean of a property over the valid samples.

    Args:
      described: N samples.
      name: of `properties.PROPERTIES`.
    """
    return over_valid(
        described, [d.properties[name] for d in described if d is not None]
    )


def over_valid(
    described: Sequence[Description | None], values: Sequence[float]
) -> Score:
    """A `Score` over N samples of a number that valid ones have.

    Args:
      described: N samples.
      values: float, one a valid sample.
    """
    count = np.array([d is not None for d in described], np.float64)
    total = np.zeros(len(count))
    total[count > 0] = values
    return Score(total, count)


def first_seen(described: Sequence[Description | None]) -> np.ndarray:
    """bool[N]: valid, and not the molecule of an earlier sample."""
    seen, result = {None}, np.zeros(len(described), bool)
    for row, d in enumerate(described):
        smiles = d and d.smiles
        result[row] = smiles not in seen
        seen.add(smiles)
    return result


def _rate(successes, counted=None):
    total = np.array(successes, bool)
    count = np.ones(len(total), bool) if counted is None else np.array(counted, bool)
    return Score((total & count).astype(float), count.astype(float), is_rate=True)
