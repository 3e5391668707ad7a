"""Contraction of noised sequences, against plain Python lists."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables

from insertion_jax.core import estimators, event_times, noising

SIZE, ROWS = 7, 400
MASK_ID, PAD_ID = 99, 5  # the padding looks like a token


class Inputs(NamedTuple):
    """The arguments of `noise`, and rates, for many sequences."""

    tokens: np.ndarray
    fixed: np.ndarray
    length: np.ndarray
    insert_time: np.ndarray
    unmask_time: np.ndarray
    t: np.ndarray
    rates: np.ndarray


def _inputs():
    rng = np.random.default_rng(0)
    t = rng.random(ROWS)
    insert_time, unmask_time = np.sort(rng.random((2, ROWS, SIZE)), axis=0)
    # Times that are met exactly, and all of a sequence in one state.
    insert_time[:20, 3] = t[:20]
    unmask_time[20:40, 2] = t[20:40]
    insert_time[40:60], unmask_time[40:60] = 1, 1
    insert_time[60:80], unmask_time[60:80] = 0, 1
    insert_time[80:100], unmask_time[80:100] = 0, 0
    insert_time[20:40, 2] = np.minimum(insert_time[20:40, 2], t[20:40])
    return Inputs(
        rng.integers(3, 9, (ROWS, SIZE)).astype(np.int32),
        rng.random((ROWS, SIZE))
        < rng.choice([0, 0.3, 1], (ROWS, 1), p=(0.5, 0.4, 0.1)),
        rng.integers(0, SIZE + 1, ROWS).astype(np.int32),
        insert_time.astype(np.float32),
        unmask_time.astype(np.float32),
        t.astype(np.float32),
        rng.gamma(1.0, 3.0, (ROWS, SIZE)).astype(np.float32),
    )


def _noise(tokens, fixed, length, insert_time, unmask_time, t, rates):
    noised = noising.noise(
        tokens,
        fixed,
        length,
        insert_time,
        unmask_time,
        t,
        mask_id=MASK_ID,
        pad_id=PAD_ID,
    )
    total = lambda rates, weights: jnp.sum(weights * noising.gap_sums(rates, noised))
    weights = jnp.arange(1.0, SIZE + 2)
    return noised, noising.gap_sums(rates, noised), jax.grad(total)(rates, weights)


@pytest.fixture(scope="module")
def cases():
    """Inputs, `Noised`, gap sums and their gradient for many sequences."""
    inputs = _inputs()
    made = tables.jit(jax.vmap(_noise))(*inputs)
    return inputs, *jax.tree.map(np.asarray, made)


def _expected(row):
    """States, visible tokens and gaps of one sequence, from its definition."""
    states, visible, gaps, sums = [], [], [0], [0.0]
    for i in range(row.length):
        absent, masked = row.t < row.insert_time[i], row.t < row.unmask_time[i]
        if row.fixed[i]:
            absent = masked = False
        states.append(
            noising.DROPPED if absent else noising.MASKED if masked else noising.CLEAN
        )
        if absent:
            gaps[-1] += 1
            sums[-1] += row.rates[i]
        else:
            visible.append((MASK_ID if masked else row.tokens[i], i, masked))
            gaps.append(0)
            sums.append(0.0)
    return states, visible, gaps, sums


def _row_of(tree, row):
    return jax.tree.map(lambda array: array[row], tree)


def test_against_plain_python(cases):
    inputs, noised, sums, _ = cases
    for number in range(ROWS):
        row, made = _row_of(inputs, number), _row_of(noised, number)
        states, visible, gaps, expected_sums = _expected(row)
        n = len(visible)
        assert made.length == n
        tokens, source, masked = (
            map(list, zip(*visible, strict=True)) if n else ([],) * 3
        )
        assert made.tokens.tolist() == tokens + [PAD_ID] * (SIZE - n)
        assert made.source.tolist() == source + [0] * (SIZE - n)
        assert made.masked.tolist() == masked + [False] * (SIZE - n)
        anchored = [bool(row.fixed[i]) for i in source]
        assert made.anchored.tolist() == anchored + [False] * (SIZE - n)
        assert made.gap.tolist() == gaps + [0] * (SIZE - n)
        assert made.valid_gap.tolist() == [True] * (n + 1) + [False] * (SIZE - n)
        padding = [noising.CLEAN] * (SIZE - row.length)
        assert made.state.tolist() == states + padding
        np.testing.assert_allclose(sums[number, : n + 1], expected_sums, rtol=1e-6)
        assert not sums[number, n + 1 :].any()
    # The cases hold all there is.
    assert set(noised.length) == set(range(SIZE + 1))
    assert set(np.ravel(noised.gap)) == set(range(SIZE + 1))


def _broken_invariants(inputs, noised, sums):
    """The names of invariants that do not hold for every sequence."""
    place, position = np.arange(SIZE), np.arange(SIZE)
    within = place < noised.length[:, None]
    inside = position < inputs.length[:, None]
    source = np.where(within, noised.source, SIZE + place)
    visible_tokens = np.take_along_axis(inputs.tokens, noised.source, axis=1)
    same = np.where(
        noised.masked, noised.tokens == MASK_ID, noised.tokens == visible_tokens
    )
    absent_rates = np.sum(np.where(noised.dropped, inputs.rates, 0), axis=1)
    placed = np.zeros((ROWS, SIZE), bool)
    np.put_along_axis(placed, np.where(within, noised.source, 0), within, axis=1)
    invariants = {
        "lengths": noised.length + noised.gap.sum(axis=1) == inputs.length,
        "alignment": (np.diff(source, axis=1) > 0).all(axis=1),
        "gaps": (
            noised.gap[:, 0] == np.where(noised.length > 0, source[:, 0], inputs.length)
        ),
        "subsequence": (same | ~within).all(axis=1),
        "total rate": np.isclose(sums.sum(axis=1), absent_rates, rtol=1e-5),
        "fixed are clean": (noised.state[inside & inputs.fixed] == noising.CLEAN).all(),
        "free": (noised.free == inside & ~inputs.fixed).all(axis=1),
        "dropped": (noised.dropped == (noised.state == noising.DROPPED)).all(axis=1),
        "counts": noised.masked.sum(axis=1)
        == (noised.state == noising.MASKED).sum(axis=1),
        "padding": (noised.tokens[~within] == PAD_ID).all(),
        "no rate elsewhere": (sums[~noised.valid_gap] == 0).all(),
    }
    return {name for name, holds in invariants.items() if not np.all(holds)}


def test_invariants(cases):
    inputs, noised, sums, _ = cases
    assert _broken_invariants(inputs, noised, sums) == set()
    # Controls: what is wrong is noticed.
    wrong = noised._replace(gap=np.roll(noised.gap, 1, axis=1))
    assert _broken_invariants(inputs, wrong, sums) == {"gaps"}
    wrong = noised._replace(source=noised.source[:, ::-1])
    assert {"alignment", "subsequence"} <= _broken_invariants(inputs, wrong, sums)
    wrong = noised._replace(masked=~noised.masked)
    assert {"subsequence", "counts"} <= _broken_invariants(inputs, wrong, sums)
    assert _broken_invariants(inputs, noised, sums + 0.1) >= {"total rate"}


def test_gradients_of_gap_sums(cases):
    # d/d rate_i of sum_k w_k sum_k is the weight of the gap that token i is absent from.
    _, noised, _, gradient = cases
    weights = np.arange(1.0, SIZE + 2)
    expected = np.where(noised.dropped, weights[noised.gap_of], 0)
    np.testing.assert_array_equal(gradient, expected)
    assert (gradient > 0).any()


def test_gap_sums_of_ones_are_gaps(cases):
    _, noised, _, _ = cases
    ones = np.ones((ROWS, SIZE), np.float32)
    made = tables.jit(jax.vmap(noising.gap_sums))(ones, noised)
    np.testing.assert_array_equal(made, noised.gap)


def test_small_rates_next_to_large_ones_keep_their_digits():
    rates = np.array([1e6, 1, 1e-3, 1], np.float32)
    absent = np.array([1, 0, 1, 0], np.float32)

    @tables.jit
    def made():
        noised = noising.noise(
            jnp.arange(4), jnp.zeros(4, bool), 4, absent, absent, 0.5, mask_id=MASK_ID
        )
        return noising.gap_sums(rates, noised)

    np.testing.assert_allclose(made()[:3], [1e6, 1e-3, 0], rtol=1e-6)
    # Which differences of a cumulative sum do not.
    cumulative = np.cumsum(rates * absent)
    assert abs(cumulative[2] - cumulative[1] - 1e-3) > 1e-4


def test_published_example():
    # A clean, B absent, C masked, D absent, at t = 1/2 under a = b_unmask = 1. The
    # end is the fifth token there; here it is implied.
    tokens = jnp.array([11, 12, 13, 14, 0])
    b_insert = jnp.array([2.0, 4.0, 1.0, 3.0, 8.0])
    insert_time = jnp.array([0.1, 0.6, 0.5, 0.9, 0.7])
    unmask_time = jnp.array([0.5, 0.8, 0.7, 0.9, 0.8])

    @tables.jit
    def made():
        noised = noising.noise(
            tokens,
            jnp.zeros(5, bool),
            4,
            insert_time,
            unmask_time,
            0.5,
            mask_id=MASK_ID,
        )
        sums = noising.gap_sums(event_times.hazard(0.5, 1, b_insert), noised)
        rates = event_times.hazard(0.5, 1, jnp.array([1.0, 6, 5, 1, 1, 1]))
        log_probs = event_times.state_log_probs(0.5, 1, b_insert, 1.0)
        return (
            noised,
            sums,
            estimators.poisson_divergence(sums, rates),
            noising.log_prob_of_states(log_probs, noised),
        )

    noised, sums, terms, log_prob = made()
    assert noised.tokens.tolist() == [11, MASK_ID, 0, 0, 0]
    # The published alignment of the end, 4, is the length.
    assert noised.source.tolist() == [0, 2, 0, 0, 0]
    assert noised.length == 2
    assert noised.gap.tolist() == [0, 1, 1, 0, 0, 0]
    np.testing.assert_allclose(sums, [0, 8, 6, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(terms[:3], [2, 0.75627914, 0.93504626], atol=1e-6)
    insertion = np.sum(np.where(noised.valid_gap, terms, 0))
    np.testing.assert_allclose(insertion, 3.69132537, atol=1e-6)
    np.testing.assert_allclose(insertion / 6, 0.61522090, atol=1e-6)
    np.testing.assert_allclose(log_prob, -7.29798473, atol=1e-6)


def test_log_prob_of_states_is_that_of_free_tokens(cases):
    inputs, noised, _, _ = cases
    logs = np.log(np.random.default_rng(1).dirichlet([1, 1, 1], (ROWS, SIZE)))
    logs = np.moveaxis(logs, -1, 0).astype(np.float32)
    function = lambda drop, mask, clean, noised: noising.log_prob_of_states(
        (drop, mask, clean), noised
    )
    made, gradient = tables.jit(
        jax.vmap(jax.value_and_grad(function, (0, 1, 2)), axis_size=ROWS)
    )(*logs, noised)
    for number in range(ROWS):
        states = _row_of(noised.state, number)
        free = [i for i in range(inputs.length[number]) if not inputs.fixed[number, i]]
        expected = sum(logs[states[i], number, i] for i in free)
        np.testing.assert_allclose(made[number], expected, rtol=1e-5, atol=1e-6)
    chosen = (noised.state == np.arange(3)[:, None, None]) & noised.free
    np.testing.assert_array_equal(np.stack(gradient), chosen)


def test_times_from_the_law_give_its_states():
    # From draws to states: how often each occurs, and how often nothing is absent.
    rates = np.array([3.0, 0.5, 1.0, 1.0, 1.0])
    fixed = np.array([False, False, False, True, False])

    def one(key):
        times = event_times.sample(key, 1.0, rates, 1.0)
        noised = noising.noise(jnp.arange(5), fixed, 4, *times, 0.4, mask_id=MASK_ID)
        return noised.state, noised.gap

    keys = jax.random.split(jax.random.key(0), 4000)
    states, gaps = map(np.array, tables.jit(jax.vmap(one))(keys))
    log_probs = tables.jit(event_times.state_log_probs)(0.4, 1.0, rates[:3], 1.0)
    probs = np.exp(log_probs)
    counts = np.stack([(states[:, :3] == state).mean(axis=0) for state in range(3)])
    bound = 5 * np.sqrt(probs * (1 - probs) / 4000)
    assert (np.abs(counts - probs) < bound).all()
    assert (np.abs(counts[:, ::-1] - probs) > bound).any()  # control: other tokens
    complete = np.prod(1 - probs[0])
    error = np.mean(gaps.sum(axis=1) == 0) - complete
    assert abs(error) < 5 * np.sqrt(complete * (1 - complete) / 4000)


def test_shapes_must_agree():
    noise = functools.partial(noising.noise, mask_id=MASK_ID)
    with pytest.raises(AssertionError):
        noise(jnp.zeros(3, int), jnp.zeros(2, bool), 3, jnp.ones(3), jnp.ones(3), 0.5)
