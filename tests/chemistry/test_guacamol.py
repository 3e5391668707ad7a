"""GuacaMol's divergences, beside scipy's densities and entropies."""

import math

import numpy as np
import pytest
import scipy.stats

from insertion_jax.chemistry import guacamol, rdkit_molecules
from insertion_jax.types import InputError

RNG = np.random.default_rng(0)
REFERENCE, VALUES = RNG.normal(size=300), RNG.normal(0.5, 1.5, size=1200)


def test_continuous_divergence():
    points = np.linspace(
        min(REFERENCE.min(), VALUES.min()), max(REFERENCE.max(), VALUES.max()), 1000
    )
    p, q = (scipy.stats.gaussian_kde(x)(points) + 1e-10 for x in (REFERENCE, VALUES))
    found = guacamol.continuous_divergence(REFERENCE, VALUES)
    assert found == pytest.approx(scipy.stats.entropy(p, q), rel=1e-9)
    assert found > 0.05
    assert guacamol.continuous_divergence(REFERENCE, REFERENCE) == 0


def test_discrete_divergence():
    reference, values = RNG.poisson(3, 300).astype(float), RNG.poisson(4, 500)
    p, edges = np.histogram(reference, bins=10, density=True)
    q, _ = np.histogram(values, bins=edges, density=True)
    expected = scipy.stats.entropy(p + 1e-10, q + 1e-10)
    found = guacamol.discrete_divergence(reference, values)
    assert found == pytest.approx(expected, rel=1e-9)
    assert found > 0.05


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0]])
def test_without_a_density_the_score_is_zero(values):
    divergence = guacamol.continuous_divergence(REFERENCE, np.array(values))
    assert math.exp(-divergence) == 0


def test_outside_the_bins():
    divergence = guacamol.discrete_divergence(REFERENCE, REFERENCE + 1000)
    assert math.exp(-divergence) == 0


def test_scores_tell_sets_apart():
    drugs = guacamol.descriptors(rdkit_molecules.screening()[:3000:15])
    others = guacamol.descriptors(rdkit_molecules.screening()[1:3000:15])
    chains = guacamol.descriptors(["C" * n for n in range(2, 52)])
    assert set(guacamol.kl_scores(drugs, drugs).values()) == {1.0}
    alike, unlike = guacamol.kl_scores(drugs, others), guacamol.kl_scores(drugs, chains)
    assert len(alike) == 10
    assert np.mean(list(alike.values())) > 0.9
    assert np.mean(list(unlike.values())) < 0.5


def test_descriptors_refuse_what_is_no_molecule():
    with pytest.raises(InputError, match="'C1C' is not a molecule"):
        guacamol.descriptors(["CC", "C1C"])
