"""Similarities, beside rdkit's own and beside the sums written out."""

import numpy as np
import pytest
from rdkit import DataStructs
from rdkit.Chem import rdFingerprintGenerator

from insertion_jax.chemistry import molecules, rdkit_molecules, similarity

TEXTS = rdkit_molecules.screening()[::200]


@pytest.fixture(scope="module")
def fingerprints():
    return np.stack([similarity.fingerprint(molecules.parse(t)) for t in TEXTS])


@pytest.fixture(scope="module")
def expected():
    """float64[50, 50], of rdkit."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    prints = [generator.GetFingerprint(molecules.parse(text)) for text in TEXTS]
    return np.array([DataStructs.BulkTanimotoSimilarity(p, prints) for p in prints])


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(similarity, "_BLOCK", 16)


def test_tanimoto(fingerprints, expected):
    found = similarity.tanimoto(fingerprints, fingerprints)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert len(np.unique(found)) > 100


def test_nearest(fingerprints, expected):
    found = similarity.nearest(fingerprints[:7], fingerprints[10:])
    np.testing.assert_allclose(found, expected[:7, 10:].max(axis=1), atol=1e-6)


@pytest.mark.parametrize("power", [1, 2])
def test_mean_power(fingerprints, expected, power):
    found = similarity.mean_power(fingerprints, power)
    mean = (expected**power).mean(axis=1) ** (1 / power)
    np.testing.assert_allclose(found, mean, atol=1e-6)


def test_mean_distance(fingerprints, expected):
    others = expected[~np.eye(len(expected), dtype=bool)]
    found = similarity.mean_distance(fingerprints)
    assert found == pytest.approx(1 - others.mean(), abs=1e-6)
    # Without its own self, a molecule is further from the set.
    assert found > 1 - similarity.mean_power(fingerprints, 1).mean() + 0.01
    assert np.isnan(similarity.mean_distance(fingerprints[:1]))


def test_largest_other(fingerprints, expected):
    found = similarity.largest_other(fingerprints)
    others = np.where(np.eye(len(expected), dtype=bool), 0, expected).max(axis=1)
    np.testing.assert_allclose(found, others, atol=1e-6)
    assert found.max() < 1


def test_empty_fingerprints_are_alike():
    empty, full = np.zeros((1, 4), np.uint8), np.full((1, 4), 255, np.uint8)
    assert similarity.tanimoto(empty, empty) == 1
    assert similarity.tanimoto(empty, full) == 0


def test_a_set_without_molecules():
    none = np.zeros((0, 128), np.uint8)
    assert similarity.nearest(none, np.ones((2, 128), np.uint8)).shape == (0,)
    assert similarity.mean_power(none, 2).shape == (0,)
