"""The full report on generated molecules, as far as data and weights are there."""

import os
import sys
from collections.abc import Container, Sequence

import numpy as np

from insertion_jax.chemistry import (
    chemnet,
    descriptions,
    downloads,
    fcd,
    filters,
    molecules,
    moses,
    reference,
)
from insertion_jax.chemistry.reference import Reference
from insertion_jax.types import Comparison, InputError

# Of one idle core, a molecule each, or a pair of a sample and a real molecule.
_SECONDS = {"describing": 0.003, "alerts": 0.005, "ChemNet": 0.006, "pair": 33e-9}


def of_samples(
    smiles: Sequence[str],
    data_dir: str | os.PathLike,
    *,
    train: Container[str] | None = None,
    references: Sequence[Reference] = (),
    num_workers: int | None = None,
    progress: bool = False,
) -> Comparison:
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
      progress: say what it costs, and show how far it is.

    Returns:
      Scores of the samples; distances have the names of the references.
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
    if progress:
        sizes = [len(one.fingerprints) for one in references]
        sets = [
            f"{size:,} molecules ({one.title})"
            for one, size in zip(references, sizes, strict=True)
        ]
        say(
            f"Comparing {len(smiles):,} samples with {' and '.join(sets) or 'no others'}, "
            "which takes one core about "
            f"{_duration(len(smiles), sum(sizes), alerts, weights)}."
        )
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
        scores |= moses.nearest_neighbour(described, one, progress=progress)
        distances |= moses.distances(described, one, features)
    return Comparison(scores, distances, tuple(dict.fromkeys(missing)))


def _duration(num_samples, num_real, alerts, weights):
    """What `of_samples` takes, as text."""
    seconds = num_samples * (
        _SECONDS["describing"]
        + _SECONDS["alerts"] * bool(alerts)
        + _SECONDS["ChemNet"] * (weights is not None)
        + _SECONDS["pair"] * num_real
    )
    return f"{max(seconds, 1):.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def say(text: str) -> None:
    """Prints to where progress goes."""
    print(text, file=sys.stderr, flush=True)


def reference_of(
    held_out: Sequence[str],
    real: Sequence[str],
    num_samples: int,
    data_dir: str | os.PathLike,
    *,
    progress: bool = False,
) -> Reference:
    """What to compare samples of one's own molecules with; 6 ms a molecule.

    Args:
      held_out: canonical SMILES of the test set.
      real: canonical SMILES of others; the Fréchet ChemNet distance of as many of them
        as there are samples is the floor, if there are as many.
      num_samples: valid ones.
      data_dir: where the weights of ChemNet were fetched to, if they were.
      progress: say what is done, and show how far it is.

    Returns:
      The reference "test".
    """
    if progress:
        say(f"Describing {len(held_out):,} molecules of the test set.")
    described = descriptions.describe_all(held_out, progress=progress)
    try:
        weights = chemnet.read_weights(data_dir)
    except InputError:
        return reference.of_molecules("test", described)
    features = chemnet.features_of(weights, held_out, progress=progress)
    found = reference.of_molecules("test", described, features)
    if not 2 <= num_samples <= len(real):
        return found
    order = np.random.default_rng(0).permutation(len(real))[:num_samples]
    others = chemnet.features_of(weights, [real[i] for i in order], progress=progress)
    floor = fcd.distance(fcd.gaussian(others), found.chemnet)
    return found._replace(fcd_floors={num_samples: floor})


def num_valid(smiles: Sequence[str]) -> int:
    """How many strings are molecules."""
    return sum(molecules.parse(text) is not None for text in smiles)
