"""Sampled event times against the closed forms of `event_times`."""

import math

import jax
import numpy as np
import pytest
import tables
from scipy import stats

from insertion_jax.core import event_times

# Rates (a, b_insert, b_unmask) from which times are drawn.
LAWS = ((1, 1.0, 1.0), (2, 3.0, 1.0), (5, 0.5, 8.0), (1, 40.0, 1.0), (2, 0.6, 0.7))
NUM_SAMPLES = 20_000

_states = tables.jit(event_times.state_log_probs)
_cdf = tables.jit(event_times.cdf)


@pytest.fixture(scope="module")
def draws():
    """`(insert_time, unmask_time)` of every law, float32[laws, samples]."""
    a, *rates = (
        np.broadcast_to(column[:, None], (len(LAWS), NUM_SAMPLES))
        for column in np.array(LAWS, np.float32).T
    )
    sample = tables.jit(event_times.sample)
    return jax.tree.map(np.asarray, sample(jax.random.key(3), a, *rates))


def _time_of(u, a, b):
    """The time by which a share u of the tokens has come."""
    return (1 - (1 - u) ** (1 / b)) ** (1 / a)


def _states_p_value(insert_time, unmask_time, t, law):
    """Chi-square test of the states of samples at time t, in one p-value."""
    dropped, clean = (t < insert_time).sum(), (t >= unmask_time).sum()
    counts = np.array([dropped, len(insert_time) - dropped - clean, clean])
    expected = np.exp(np.array(_states(t, *map(float, law)), float))
    expected = len(insert_time) * expected / expected.sum()
    assert expected.min() > 5
    return stats.chisquare(counts, expected).pvalue


@pytest.mark.parametrize("index", range(len(LAWS)))
def test_samples_follow_the_state_probabilities(draws, index):
    law, times = LAWS[index], [side[index] for side in draws]
    for u in (0.2, 0.5, 0.9):
        t = _time_of(u, *law[:2])
        assert _states_p_value(*times, t, law) > 1e-4


def test_control_other_rates_are_noticed(draws):
    for index, law in ((1, (2, 1.0, 3.0)), (2, (5, 0.5, 5.0)), (0, (2, 1.0, 1.0))):
        t = _time_of(0.5, *LAWS[index][:2])
        assert _states_p_value(*(side[index] for side in draws), t, law) < 1e-6


def test_samples_follow_both_laws(draws):
    truncated = tables.jit(event_times.truncated_inverse_cdf)
    for index, (a, b_insert, b_unmask) in enumerate(LAWS):
        insert_time, unmask_time = (side[index] for side in draws)
        assert (insert_time <= unmask_time).all()
        assert ((insert_time >= 0) & (unmask_time <= 1)).all()
        # Close to 1 floats are too coarse to tell times apart.
        early = insert_time < 0.9999
        for rate, holds in ((b_insert, True), (1.15 * b_insert, False)):
            u = np.array(_cdf(insert_time, a, rate) / _cdf(0.9999, a, rate))
            p_value = stats.kstest(u[early], "uniform", method="asymp").pvalue
            assert p_value > 1e-4 if holds else p_value < 1e-6
        # Unmasking times are truncated draws: uniform in what is left.
        past, by_then = (
            np.array(_cdf(times, a, b_unmask), float)
            for times in (insert_time, unmask_time)
        )
        known = past < 0.9
        left = np.where(known, (by_then - past) / np.where(known, 1 - past, 1), 0)
        assert known.sum() > 2000
        assert stats.kstest(left[known], "uniform", method="asymp").pvalue > 1e-4
        assert stats.kstest(by_then[known], "uniform", method="asymp").pvalue < 1e-6
        back = truncated(np.float32(left), insert_time, a, b_unmask)
        np.testing.assert_allclose(back[known], unmask_time[known], atol=2e-5)


def test_the_order_is_an_exponential_race(draws):
    # Whatever the shapes, if they are equal.
    for first, second in ((0, 3), (1, 4)):
        wins = (draws[0][first] < draws[0][second]).sum()
        ours, theirs = LAWS[first][1], LAWS[second][1]
        chance = ours / (ours + theirs)
        assert stats.binomtest(int(wins), NUM_SAMPLES, chance).pvalue > 1e-4
        assert stats.binomtest(int(wins), NUM_SAMPLES, 1 - chance).pvalue < 1e-6


def test_the_mean_is_the_samples_mean(draws):
    a, b, _ = np.array(LAWS, np.float32).T
    errors = draws[0].mean(axis=1) - tables.jit(event_times.mean)(a, b)
    bounds = 5 * draws[0].std(axis=1) / math.sqrt(NUM_SAMPLES)
    assert (np.abs(errors) < bounds).all()
