"""Rates of eight samples, by hand."""

import math

import numpy as np
import pytest

from insertion_jax import estimates, evaluation
from insertion_jax.chemistry import descriptions, rates

# Invalid, valid, the same in other words, a mixture, empty, good, good again, large.
GOOD = "CC(=O)Nc1ccc(OC2CCN(C)CC2)cc1"
SAMPLES = ["C1CC", "OCC", "CCO", "CC.O", "", GOOD, GOOD, "C" * 40]


@pytest.fixture(scope="module")
def samples():
    return descriptions.describe_all(SAMPLES)


def value(score):
    return score.total.sum() / score.count.sum()


def test_valid(samples):
    assert value(rates.valid(samples)) == 6 / 8
    assert value(rates.connected(samples)) == 5 / 8


def test_unique(samples):
    assert value(rates.unique(samples)) == 4 / 6
    assert value(rates.unique(samples, 2)) == 1 / 2
    assert value(rates.unique(samples, 4)) == 3 / 4
    assert value(rates.unique(samples, 1000)) == 4 / 6


def test_novel(samples):
    train = {"CCO", "CCC"}
    assert value(rates.novel(samples, train)) == 3 / 4
    assert value(rates.novel(samples, set())) == 1
    assert value(rates.unique_and_novel(samples, train)) == 3 / 8


def test_quality(samples):
    assert value(rates.quality(samples, unique=False)) == 2 / 8
    assert value(rates.quality(samples, unique=True)) == 1 / 8


def test_mean(samples):
    weight = rates.mean_of(samples, "weight")
    by_hand = [d.properties["weight"] for d in samples if d is not None]
    assert len(by_hand) == 6
    assert value(weight) == pytest.approx(np.mean(by_hand))
    assert not weight.is_rate


def test_filters():
    alerts = ("[#9]",)
    samples = descriptions.describe_all(["CF", "CC", "C1CC", "CCF"], alerts)
    assert value(rates.passes_filters(samples)) == 1 / 3


def test_rates_get_the_interval_of_wilson(samples):
    estimate = evaluation.estimate(rates.valid(samples))
    assert (estimate.low, estimate.high) == estimates.wilson(6, 8)


def test_nothing_valid():
    samples = descriptions.describe_all(["(", "C("])
    for score in (rates.unique(samples), rates.novel(samples, set())):
        assert score.count.sum() == 0
        assert math.isnan(evaluation.estimate(score).value)
    assert value(rates.quality(samples, unique=True)) == 0
