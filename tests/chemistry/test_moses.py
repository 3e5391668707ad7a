"""The suite of MOSES: on itself, on other molecules, and its published row."""

import math

import numpy as np
import pytest

from insertion_jax import evaluation
from insertion_jax.chemistry import (
    chemnet,
    descriptions,
    downloads,
    fcd,
    filters,
    moses,
    reference,
)
from insertion_jax.types import InputError


@pytest.fixture(scope="module")
def real(described):
    features = np.random.default_rng(0).normal(size=(len(described), 8))
    return reference.of_molecules("real", described, features), features


def values(scores):
    return {name: evaluation.estimate(score).value for name, score in scores.items()}


def test_a_set_and_itself(described, real):
    itself, features = real
    assert values(moses.nearest_neighbour(described, itself)) == {"SNN/real": 1.0}
    found = moses.distances(described, itself, features)
    assert found.keys() == {
        f"{name}/real"
        for name in ["FCD", "Frag", "Scaf", "logP", "SA", "QED", "weight"]
    }
    assert {distance.num_samples for distance in found.values()} == {200}
    for name, distance in found.items():
        best = 1 if name[:4] in ("Frag", "Scaf") else 0
        assert distance.value == pytest.approx(best, abs=1e-9), name


def test_halves_differ(described, real):
    itself, features = real
    half = described[:100]
    found = moses.distances(half, itself, features[:100])
    for name, distance in found.items():
        best = 1 if name[:4] in ("Frag", "Scaf") else 0
        assert abs(distance.value - best) > 1e-3, name
    assert moses.distances(half, itself).keys() == found.keys() - {"FCD/real"}


def test_scores(described):
    train = {d.smiles for d in described[:50]}
    found = values(moses.scores([None, *described], train))
    assert found["valid"] == 200 / 201
    assert found["unique@1000"] == 1
    assert found["novel"] == 150 / 200
    assert found["valid_unique_novel"] == 150 / 201
    assert found["quality"] == found["quality_of_unique"]
    assert "filters" not in found
    assert "novel" not in moses.scores(described)


def test_filters_are_a_score_where_they_were_asked_for():
    described = descriptions.describe_all(["CC", "CI"], filters.pains_alerts()[:1])
    assert values(moses.scores(described))["filters"] == 1 / 2


def test_internal_diversity(described):
    found = values(moses.internal_diversity([None, *described]))
    assert 0.8 < found["IntDiv2"] < found["IntDiv"] < 0.95
    same = values(moses.internal_diversity([described[0]] * 3))
    assert same == {"IntDiv": pytest.approx(0), "IntDiv2": pytest.approx(0)}


def test_nothing_valid(real):
    itself, _ = real
    nothing = [None, None]
    found = moses.distances(nothing, itself, np.zeros((0, 8)))
    assert all(math.isnan(distance.value) for distance in found.values())
    assert math.isnan(values(moses.nearest_neighbour(nothing, itself))["SNN/real"])
    assert math.isnan(values(moses.internal_diversity(nothing))["IntDiv"])


def test_the_floor_stands_beside_the_distance(real):
    itself, features = real
    assert moses.frechet(features, itself).floor is None
    known = itself._replace(fcd_floors={100: 0.5, 400: 0.5})
    assert moses.frechet(features, known).floor == pytest.approx(0.5)


def test_a_reference_of_nothing_is_refused():
    with pytest.raises(InputError, match="The reference 'mine' has no valid molecule"):
        reference.of_molecules("mine", [None])


def test_unknown_splits_are_refused(tmp_path):
    with pytest.raises(InputError, match="it has those of test, test_scaffolds"):
        reference.of_moses("train", tmp_path)


@pytest.mark.slow
def test_descriptions_agree_with_those_that_moses_ships(data_dir):
    texts = downloads.moses_smiles("test", data_dir)[:500]
    described = descriptions.describe_all(texts)
    shipped = reference.of_moses("test", data_dir)
    for name, expected in shipped.properties.items():
        found = [d.properties[name] for d in described]
        np.testing.assert_allclose(found, expected[:500], atol=1e-6, err_msg=name)
    same = [
        (d.fingerprint == row).all()
        for d, row in zip(described, shipped.fingerprints, strict=False)
    ]
    # rdkit has changed since: 4 of 10,000 differ.
    assert np.mean(same) >= 0.99
    for d in described:
        assert set(d.fragments) <= shipped.fragments.keys()


@pytest.mark.slow
def test_the_published_row_of_train(data_dir):
    texts = downloads.moses_smiles("train", data_dir)
    texts = np.random.default_rng(0).choice(texts, 3000, replace=False).tolist()
    described = descriptions.describe_all(texts, filters.moses_alerts(data_dir))
    features = chemnet.features_of(
        chemnet.read_weights(data_dir), [d.smiles for d in described]
    )
    found = values(moses.scores(described) | moses.internal_diversity(described))
    assert found["valid"] == found["unique@1000"] == found["filters"] == 1
    assert found["IntDiv"] == pytest.approx(0.8567, abs=0.002)
    assert found["IntDiv2"] == pytest.approx(0.8508, abs=0.002)
    published = {
        "test": {"SNN": 0.6419, "Frag": 1.0},
        "test_scaffolds": {"SNN": 0.5859, "Frag": 0.9986},
    }
    for split, expected in published.items():
        known = reference.of_moses(split, data_dir)
        nearest = values(moses.nearest_neighbour(described, known))
        assert nearest[f"SNN/{split}"] == pytest.approx(expected["SNN"], abs=0.006)
        distances = moses.distances(described, known, features)
        frag = distances[f"Frag/{split}"].value
        assert frag == pytest.approx(expected["Frag"], abs=0.002)
        frechet = distances[f"FCD/{split}"]
        # The published 0.008 is of 1.6 million molecules; of 3,000 it is the floor.
        assert frechet.value == pytest.approx(frechet.floor, rel=0.1)
        assert frechet.floor == fcd.floor_at(fcd.MOSES_FLOORS[split], 3000)
    assert distances["Scaf/test_scaffolds"].value == 0
