import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables

from insertion_jax.core import categorical

PROBS = np.array([0.125, 0.5, 0.0625, 0.25, 0.0625])


def _counts(log_probs, num_draws=40_000, **options):
    keys = jax.random.split(jax.random.key(2), num_draws)
    draw = jax.vmap(lambda key: categorical.draw(key, log_probs, **options))
    return np.bincount(np.asarray(tables.jit(draw)(keys)), minlength=len(log_probs))


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [
        (0.01, {1}),
        (0.5, {1}),  # reached exactly by the first outcome
        (0.51, {1, 3}),
        (0.75, {1, 3}),
        (0.8, {0, 1, 3}),
        (0.875, {0, 1, 3}),
        (0.9, {0, 1, 2, 3}),
        (0.95, {0, 1, 2, 3, 4}),
        (1.0, {0, 1, 2, 3, 4}),
    ],
)
def test_nucleus_keeps_exactly(top_p, kept):
    log_probs = jnp.log(jnp.asarray(PROBS))
    made = categorical.nucleus(log_probs, top_p)
    assert set(np.flatnonzero(np.isfinite(made)).tolist()) == kept
    np.testing.assert_array_equal(made[np.array([*kept])], log_probs[np.array([*kept])])


def test_nucleus_boundary_is_not_moved_by_rounding():
    # The largest outcome has exactly the mass asked for, whatever comes after.
    rng = np.random.default_rng(0)
    first = rng.uniform(0.4, 0.9, 1000)
    second = (1 - first) * rng.uniform(0.5, 1.0, 1000)
    probs = np.stack([first, second, 1 - first - second], axis=1)
    log_probs = jnp.log(jnp.asarray(probs, jnp.float32))
    top_p = jnp.exp(log_probs.max(axis=1))
    made = jax.vmap(categorical.nucleus)(log_probs, top_p)
    np.testing.assert_array_equal(np.isfinite(made).sum(axis=1), 1)


def test_nucleus_never_keeps_nothing():
    made = categorical.nucleus(jnp.asarray([0.0, categorical.IMPOSSIBLE]), 1e-9)
    assert np.isfinite(made).tolist() == [True, False]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_frequencies_at_a_temperature(temperature):
    counts = _counts(jnp.log(jnp.asarray(PROBS)), temperature=temperature)
    assert tables.p_value(counts, PROBS ** (1 / temperature)) > 1e-4
    # Control: another temperature is told apart.
    assert tables.p_value(counts, PROBS ** (1 / (1.2 * temperature))) < 1e-6


def test_nucleus_is_taken_after_the_temperature():
    # At temperature 2 the largest has 0.5 / (sum of roots) = 0.346 < 0.4: two stay.
    counts = _counts(jnp.log(jnp.asarray(PROBS)), temperature=2.0, top_p=0.4)
    roots = np.sqrt(PROBS)
    expected = np.where(np.isin(np.arange(5), [1, 3]), roots, 0.0)
    assert tables.p_value(counts, expected) > 1e-4


def test_greedy_takes_the_most_probable():
    log_probs = jnp.log(jnp.asarray(PROBS))
    draw = categorical.draw(jax.random.key(0), log_probs, greedy=True)
    assert draw == 1
    assert draw.dtype == jnp.int32


@pytest.mark.parametrize("options", [{}, {"temperature": 1e-3}, {"temperature": 1e3}])
def test_the_impossible_is_never_drawn(options):
    log_probs = jnp.asarray([categorical.IMPOSSIBLE, np.log(0.5), np.log(0.5)])
    counts = _counts(log_probs, **options)
    assert counts[0] == 0
    assert counts[1] > 0 and counts[2] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive, got 0.0"),
        ({"temperature": -1.0}, "temperature must be positive"),
        ({"temperature": float("nan")}, "temperature must be positive"),
        ({"top_p": 0.0}, r"top_p must lie in \(0, 1\], got 0.0"),
        ({"top_p": 1.5}, "top_p must lie"),
        ({"top_p": float("nan")}, "top_p must lie"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        categorical.draw(jax.random.key(0), jnp.zeros(2), **options)
