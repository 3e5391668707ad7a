"""The distance against closed forms, and its floor."""

import numpy as np
import pytest
import scipy.linalg

from insertion_jax.chemistry import fcd
from insertion_jax.types import InputError


def random_gaussian(seed, size=6, rank=6):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, rank))
    return fcd.Gaussian(rng.normal(size=size), root @ root.T)


def test_against_the_matrix_root():
    one, other = random_gaussian(0), random_gaussian(1)
    offset = one.mean - other.mean
    root = scipy.linalg.sqrtm(one.covariance @ other.covariance)
    expected = offset @ offset + np.trace(
        one.covariance + other.covariance - 2 * root.real
    )
    assert fcd.distance(one, other) == pytest.approx(expected, rel=1e-9)
    assert fcd.distance(other, one) == pytest.approx(expected, rel=1e-9)
    assert expected > 1


def test_of_one_dimension():
    one = fcd.Gaussian(np.array([1.0]), np.array([[4.0]]))
    other = fcd.Gaussian(np.array([3.0]), np.array([[9.0]]))
    assert fcd.distance(one, other) == pytest.approx(2**2 + (2 - 3) ** 2)


def test_to_itself():
    assert fcd.distance(*[random_gaussian(2)] * 2) == pytest.approx(0, abs=1e-9)


def test_of_singular_covariances():
    one, other = random_gaussian(0, rank=2), random_gaussian(1, rank=3)
    found = fcd.distance(one, other)
    nearly = [
        g._replace(covariance=g.covariance + 1e-9 * np.eye(6)) for g in (one, other)
    ]
    assert found == pytest.approx(fcd.distance(*nearly), abs=1e-3)


def test_gaussian():
    features = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    found = fcd.gaussian(features)
    np.testing.assert_allclose(found.mean, features.mean(axis=0), rtol=1e-5)
    centred = features - features.mean(axis=0)
    np.testing.assert_allclose(found.covariance, centred.T @ centred / 19, rtol=1e-4)
    with pytest.raises(InputError, match="needs two valid molecules or more, not 1"):
        fcd.gaussian(features[:1])


def test_floor_falls_with_the_number_of_molecules():
    rng = np.random.default_rng(0)
    other, real = fcd.gaussian(rng.normal(size=(5000, 8))), rng.normal(size=(2000, 8))
    floors = [fcd.floor(real, other, n)[0] for n in (50, 100, 200, 400)]
    assert floors == sorted(floors, reverse=True)
    assert floors[0] == pytest.approx(2 * floors[1], rel=0.4)
    with pytest.raises(InputError, match="needs the features of as many real ones"):
        fcd.floor(real, other, 2001)


def test_floor_between_sizes():
    floors = {100: 8.0, 400: 2.0}
    assert fcd.floor_at(floors, 100) == pytest.approx(8)
    assert fcd.floor_at(floors, 200) == pytest.approx(4)
    assert fcd.floor_at(floors, 800) == pytest.approx(2)
    assert np.isnan(fcd.floor_at(floors, 99))


def test_guacamol_score():
    assert fcd.guacamol_score(0) == 1
    assert fcd.guacamol_score(5) == pytest.approx(np.exp(-1))
