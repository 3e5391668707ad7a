"""Estimates, their intervals, and the table."""

import math

import numpy as np
import pytest
import scipy.stats

from insertion_jax import estimates, evaluation
from insertion_jax.types import Comparison, Distance, Score


def mean_of(values, **more):
    values = np.asarray(values, np.float64)
    return Score(values, np.ones_like(values), **more)


@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 1), (1, 1), (0, 20), (20, 20), (7, 20), (999, 1000)]
)
def test_rates_have_wilsons_interval(successes, trials):
    expected = scipy.stats.binomtest(successes, trials).proportion_ci(method="wilson")
    found = evaluation.estimate(mean_of(np.arange(trials) < successes, is_rate=True))
    np.testing.assert_allclose(
        found[1:3], (expected.low, expected.high), rtol=1e-12, atol=1e-15
    )
    assert found.value == successes / trials
    assert found.num_examples == trials
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_rates_count_the_examples_they_apply_to():
    applies = np.array([1.0, 1.0, 1.0, 0.0])
    found = evaluation.estimate(Score(np.array([1.0, 0, 1, 0]), applies, is_rate=True))
    assert found == evaluation.estimate(mean_of([1.0, 0, 1], is_rate=True))
    assert found.num_examples == 3


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).gamma(2.0, size=50),
        # Lengths, say, which happen to be 0 and 1: the kind of the interval does not
        # depend on the data.
        np.arange(50) < 30,
    ],
)
def test_means_have_the_normal_interval(values):
    found = evaluation.estimate(mean_of(values))
    error = scipy.stats.sem(values)
    expected = scipy.stats.norm.interval(0.95, loc=values.mean(), scale=error)
    np.testing.assert_allclose(found[1:3], expected, rtol=1e-12)


def test_intervals_of_ratios_cover_the_truth():
    rng = np.random.default_rng(0)
    num_trials, num_examples, rate = 2_000, 200, 0.3
    covered, covered_if_independent = 0, 0
    for _ in range(num_trials):
        # Hits among as many tokens as each example has, which depend on one another.
        count = rng.integers(1, 10, num_examples)
        total = np.where(rng.random(num_examples) < rate, count, 0)
        found = evaluation.estimate(Score(total * 1.0, count * 1.0))
        covered += found.low <= rate <= found.high
        low, high = estimates.wilson(total.sum(), count.sum())
        covered_if_independent += low <= rate <= high
    three_errors = 3 * math.sqrt(0.95 * 0.05 / num_trials)
    assert covered / num_trials == pytest.approx(0.95, abs=three_errors)
    assert covered_if_independent / num_trials < 0.8


@pytest.mark.parametrize("spread", [0.5, 5.0])
def test_intervals_of_rates_know_of_problems(spread):
    rng = np.random.default_rng(0)
    num_trials, num_problems, rate, num_samples = 1_000, 60, 0.8, 50
    problem = np.repeat(np.arange(num_problems), num_samples)
    covered, covered_if_independent = 0, 0
    for _ in range(num_trials):
        # Some problems are harder than others.
        own = rng.beta(rate * spread, (1 - rate) * spread, num_problems)
        score = mean_of(rng.random(len(problem)) < own[problem], is_rate=True)
        found = evaluation.estimate(score, problem)
        covered += found.low <= rate <= found.high
        found = evaluation.estimate(score)
        covered_if_independent += found.low <= rate <= found.high
    assert covered / num_trials == pytest.approx(0.95, abs=0.025)
    assert covered_if_independent / num_trials < 0.7


def test_rates_of_one_sample_a_problem_are_wilsons():
    score = Score(
        np.array([1.0, 0, 0, 1, 0]), np.array([1.0, 0, 1, 1, 0]), is_rate=True
    )
    grouped = evaluation.estimate(score, np.array([0, 0, 1, 2, 2]))
    assert grouped == evaluation.estimate(score)
    assert grouped[1:3] == estimates.wilson(2, 3)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_problems_that_all_say_the_same_count_once(value):
    score = mean_of(np.full(100, value), is_rate=True)
    found = evaluation.estimate(score, np.arange(100) // 20)
    assert found[1:3] == estimates.wilson(5 * value, 5)
    assert found.num_examples == 100


@pytest.mark.parametrize("total", [[1.0, 1, 1, 1], [1.0, 0, 1, 0]])
def test_intervals_of_rates_are_never_narrower_than_of_independent_samples(total):
    score = mean_of(total, is_rate=True)
    found = evaluation.estimate(score, np.array([0, 0, 1, 1]))
    independent = evaluation.estimate(score)
    assert found.low <= independent.low
    assert found.high >= independent.high


def test_rates_with_several_trials_an_entry():
    # Shares of new linkers, of those that each pair has.
    count = np.array([4.0, 6, 10, 5])
    score = Score(np.array([4.0, 0, 10, 0]), count, is_rate=True)
    found = evaluation.estimate(score)
    low, high = estimates.wilson(14, 25)
    assert found.value == 14 / 25
    assert found.low < low < high < found.high
    assert found.low >= 0


def test_ratio_is_of_sums():
    found = evaluation.estimate(Score(np.array([1.0, 9.0]), np.array([1.0, 19.0])))
    assert found.value == 0.5


def test_one_example_bounds_no_mean():
    found = evaluation.estimate(mean_of([2.5]))
    assert found == (2.5, -math.inf, math.inf, 1)


def test_ratios_count_the_examples_they_apply_to():
    found = evaluation.estimate(Score(np.array([4.0, 0, 3]), np.array([2.0, 0, 1])))
    assert found.value == 7 / 3
    assert found.num_examples == 2


@pytest.mark.parametrize("size", [0, 3])
def test_nothing_to_divide_by(size):
    found = evaluation.estimate(Score(np.zeros(size), np.zeros(size)))
    assert np.isnan(found[:3]).all()
    assert found.num_examples == 0


def test_table():
    estimates = {
        "exact_match": evaluation.Estimate(0.5, 0.25, 0.75, 12),
        "elbo": evaluation.Estimate(-3.25, -math.inf, math.inf, 1),
    }
    assert evaluation.table(estimates).splitlines() == [
        "metric           value         95 % interval  examples",
        "exact_match     0.5000      [0.2500, 0.7500]        12",
        "elbo           -3.2500           [-inf, inf]         1",
    ]


def test_numbers_of_a_whole_set_have_no_interval():
    estimates = {"FCD": evaluation.Estimate(0.5, math.nan, math.nan, 12)}
    assert evaluation.table(estimates).splitlines()[1].split() == [
        "FCD",
        "0.5000",
        "12",
    ]


def test_distances_stand_beside_what_real_data_reach():
    one = Distance(0.5, 12, floor=0.25)
    comparison = Comparison({}, {"FCD": one, "Frag": Distance(0.9, 12)}, ())
    found = evaluation.of_sets(comparison)
    assert [(name, e.value, e.num_examples) for name, e in found.items()] == [
        ("FCD", 0.5, 12),
        ("FCD of real data", 0.25, 12),
        ("Frag", 0.9, 12),
    ]
