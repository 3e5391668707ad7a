"""The baseline recovers what is frequent and nothing else."""

import numpy as np
import pytest

from insertion_jax import evaluation
from insertion_jax.chemistry import fragments, rdkit_molecules, smiles
from insertion_jax.chemistry.linker_scores import linker_counts
from insertion_jax.tasks import linker_baseline, linker_data, linkers, molecule_data


@pytest.fixture(scope="module")
def cuts():
    return [
        item
        for text in rdkit_molecules.screening()[:60]
        for item in linker_data.written_cuts(text, fragments.DELINKER)
    ]


def values(scores):
    return {name: evaluation.estimate(score).value for name, score in scores.items()}


def test_scores(cuts):
    chosen = cuts[:8]
    pieces = [tuple(map(smiles.tokenize, strings)) for _, strings in chosen]
    vocabulary = smiles.vocabulary(t for row in pieces for piece in row for t in piece)
    rows = [vocabulary.encode([t for piece in row for t in piece]) for row in pieces]
    examples = linkers.encode(
        *molecule_data.padded(rows, max(map(len, rows))),
        np.array([len(a) for a, _, _ in pieces]),
        np.array([len(c) for _, _, c in pieces]),
    )
    counts = linker_counts(cut for cut, _ in cuts)

    def recovered(number):
        found = linker_baseline.scores(
            examples,
            vocabulary=vocabulary,
            counts=counts,
            num_samples=np.broadcast_to(number, len(chosen)).tolist(),
            ranks=(1,),
        )
        assert len(found["recovered"].total) == len(chosen)
        return values(found)

    every = recovered(2 * len(counts))
    assert every["recovered"] == every["recovered_rare@1"] == every["unique"] == 1
    assert every["novel"] == 0
    assert recovered(2)["recovered_rare@1"] == 0
    assert recovered(2)["distinct_linkers"] <= 2
    # Each pair has a number of its own.
    assert recovered([2] * 4 + [0] * 4)["distinct_linkers"] <= 1
