"""The full report on generated molecules, as far as data and weights are there."""

import os
from collections.abc import Container, Sequence
from typing import NamedTuple

from insertion_jax.chemistry import (
    chemnet,
    descriptions,
    downloads,
    filters,
    moses,
    reference,
)
from insertion_jax.chemistry.moses import Distance
from insertion_jax.chemistry.reference import Reference
from insertion_jax.types import InputError, Score


class Report(NamedTuple):
    """All metrics of a set of samples.

    Attributes:
      scores: of each sample.
      distances: of the set; those to MOSES' test sets have their names.
      missing: what could not be computed, and the command that would help.
    """

    scores: dict[str, Score]
    distances: dict[str, Distance]
    missing: tuple[str, ...]


def of_samples(
    smiles: Sequence[str],
    data_dir: str | os.PathLike,
    *,
    train: Container[str] | None = None,
    references: Sequence[Reference] = (),
    num_workers: int | None = None,
    progress: bool = False,
) -> Report:
    """Measures samples with all metrics of MOSES.

    10,000 molecules take 5 minutes of one core: 60 s for each reference of 176,000
    molecules, 75 s for properties and filters, 60 s for ChemNet.

    Args:
      smiles: N samples; what is no molecule counts as invalid.
      data_dir: where packages were fetched to.
      train: canonical SMILES of the training set, or None.
      references: what to compare with; if none, both test sets of MOSES, if they were
        fetched.
      num_workers: as in `workers.run`.
      progress: show bars where someone is watching.
    """
    missing = []

    def attempt(function, *arguments):
        try:
            return function(*arguments)
        except InputError as error:
            missing.append(str(error))
            return None

    alerts = attempt(filters.moses_alerts, data_dir)
    weights = attempt(chemnet.read_weights, data_dir)
    if not references:
        loaded = (
            attempt(reference.of_moses, split, data_dir)
            for split in downloads.MOSES_STATISTICS
        )
        references = [one for one in loaded if one is not None]
    described = descriptions.describe_all(
        smiles, alerts or (), num_workers=num_workers, progress=progress
    )
    scores = moses.scores(described, train) | moses.internal_diversity(described)
    real = [d.smiles for d in described if d is not None]
    features = None
    if weights is not None:
        features = attempt(
            lambda: chemnet.features_of(weights, real, progress=progress)
        )
    distances = {}
    for one in references:
        scores |= moses.nearest_neighbour(described, one)
        distances |= moses.distances(described, one, features)
    return Report(scores, distances, tuple(dict.fromkeys(missing)))
