"""Metrics of molecules that were written around fragments.

As in GenMol (arXiv 2501.06158) and LoFlexMDM (arXiv 2602.18695): all are of one
problem, and averaged over problems. What lacks a fragment is not valid. One that has
no valid sample counts as 0 for validity, uniqueness and quality, and is left out of
diversity and distance.
"""

from collections.abc import Sequence

import numpy as np

from insertion_jax.chemistry import molecules, rates, similarity
from insertion_jax.chemistry.descriptions import Description
from insertion_jax.chemistry.fragment_constraints import Problem, contains
from insertion_jax.types import Score

# Of diversity; the distance has as many as `similarity.fingerprint` gives by default.
_NUM_BITS = 2_048


def answers(
    problems: Sequence[Problem], described: Sequence[Description | None]
) -> list[Description | None]:
    """What of N samples has the fragments that it should have; None for the others.

    Args:
      problems: N of them, each as often as it was sampled for.
      described: N samples.
    """
    return [
        d if d is not None and contains(d.smiles, problem.fragments) else None
        for d, problem in zip(described, problems, strict=True)
    ]


def scores(
    problems: Sequence[Problem], answered: Sequence[Sequence[Description | None]]
) -> dict[str, Score]:
    """What P problems got.

    Args:
      problems: P of them.
      answered: of `answers`, one or more for each problem.

    Returns:
      Each of P numbers: `valid`, the share of the samples that are molecules with the
      fragments; `unique`, the share of distinct ones among these; `quality`, the share
      of the samples that are good, repeated or not (`rates.quality`); `diversity`, the
      mean distance of two distinct ones; `distance`, the mean distance between distinct
      ones and the molecule that the fragments are of, where it is known.
    """
    columns = {
        "valid": [_share(rates.valid(some)) for some in answered],
        "unique": [_share(rates.unique(some)) for some in answered],
        "quality": [_share(rates.quality(some, unique=False)) for some in answered],
        "diversity": [_diversity(some) for some in answered],
        "distance": [
            _distance(problem, some)
            for problem, some in zip(problems, answered, strict=True)
        ],
    }
    return {name: _mean_of(values) for name, values in columns.items()}


def _mean_of(values):
    """The mean of what is not NaN."""
    values = np.array(values, np.float64)
    return Score(np.nan_to_num(values), np.isfinite(values).astype(np.float64))


def _share(score):
    return score.total.sum() / max(score.count.sum(), 1.0)


def _distinct(described):
    """One of each molecule, by its SMILES."""
    return {d.smiles: d for d in described if d is not None}


def _diversity(described):
    mols = map(molecules.parse, _distinct(described))
    rows = [similarity.fingerprint(mol, _NUM_BITS) for mol in mols]
    return similarity.mean_distance(np.stack(rows)) if rows else np.nan


def _distance(problem, described):
    distinct = _distinct(described).values()
    if problem.molecule is None or not distinct:
        return np.nan
    source = similarity.fingerprint(molecules.parse(problem.molecule))
    rows = np.stack([d.fingerprint for d in distinct])
    return float(1 - similarity.tanimoto(rows, source[None]).mean())
