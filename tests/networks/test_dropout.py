"""Dropout keeps the mean, and drops as many entries as it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from insertion_jax.networks.dropout import Dropout


def _drop(rate, x, key=0, deterministic=False):
    rngs = {"dropout": jax.random.key(key)}
    return Dropout(rate).apply({}, x, deterministic, rngs=rngs)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_rate_and_mean(rate):
    out = np.asarray(_drop(rate, jnp.ones((301, 999))))
    deviation = np.sqrt(rate * (1 - rate) / out.size)
    # Five deviations; another rate of a hundredth more would be out by ten and more.
    assert abs((out == 0).mean() - rate) < 5 * deviation + 2**-16
    assert 0.01 > 10 * deviation
    np.testing.assert_allclose(out[out != 0], 1 / (1 - rate), rtol=1e-4)
    assert abs(out.mean() - 1) < 5 * deviation / (1 - rate)


def test_the_two_masks_of_a_word_are_independent():
    kept = np.asarray(_drop(0.5, jnp.ones(200_000))) > 0
    first, second = kept.reshape(-1, 2).T
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(first.size)
    # The control: a mask is not independent of itself.
    assert np.corrcoef(first, first)[0, 1] > 0.99


def test_keys_decide():
    x = jnp.ones(1_000)
    assert (_drop(0.5, x, key=1) == _drop(0.5, x, key=1)).all()
    assert (_drop(0.5, x, key=1) != _drop(0.5, x, key=2)).any()


@pytest.mark.parametrize("shape", [(1,), (3, 5), (0, 4)])
def test_any_shape_and_dtype(shape):
    out = _drop(0.3, jnp.ones(shape, jnp.bfloat16))
    assert out.shape == shape
    assert out.dtype == jnp.bfloat16


def test_nothing_is_dropped_without_need():
    x = jnp.arange(5.0)
    assert (_drop(0.9, x, deterministic=True) == x).all()
    assert (_drop(0.0, x) == x).all()
