"""Dropout keeps the mean, and drops as many entries as it says."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables

from insertion_jax.networks.dropout import Dropout, _hashed, hashed_bits


def _drop(rate, x, key=0, deterministic=False):
    rngs = {"dropout": jax.random.key(key)}
    return Dropout(rate).apply({}, x, deterministic, rngs=rngs)


def test_a_rate_close_to_one_is_legal():
    assert not _drop(1 - 1e-12, jnp.ones(100)).any()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_rate_and_mean(rate):
    out = np.asarray(_drop(rate, jnp.ones((301, 999))))
    deviation = np.sqrt(rate * (1 - rate) / out.size)
    # Five deviations; another rate of a hundredth more would be out by ten and more.
    assert abs((out == 0).mean() - rate) < 5 * deviation
    assert 0.01 > 10 * deviation
    np.testing.assert_allclose(out[out != 0], 1 / (1 - rate), rtol=1e-4)
    assert abs(out.mean() - 1) < 5 * deviation / (1 - rate)


def _by_bit(words):
    return ((words[:, None] >> np.arange(32, dtype=np.uint32)) & 1).astype(np.float64)


def _bias(words):
    """How far the share of ones of any bit is from a half."""
    return np.abs(_by_bit(words).mean(axis=0) - 0.5).max()


def _correlations(words):
    """The largest |correlation| of any two bits of a word."""
    matrix = np.corrcoef(_by_bit(words), rowvar=False)
    return np.abs(matrix - np.eye(32)).max()


def _bits(key, shape):
    return np.asarray(hashed_bits(jax.random.key(key), shape))


# Five deviations, with room for the largest of some thousand.
_BOUND = 6 / np.sqrt(2**18)


def test_bits_are_even_and_independent():
    words = _bits(0, (2**18,))
    assert _bias(words) < _BOUND / 2
    assert _correlations(words) < _BOUND
    # The control: bits that take over their neighbours' ones.
    assert _correlations(words | (words << np.uint32(1))) > 0.1


@pytest.mark.parametrize("lag", [1, 2, 16, 64, 1_024])
def test_neighbours_are_independent(lag):
    words = _bits(1, (2**18 + lag,))
    assert _bias(words[lag:] ^ words[:-lag]) < _BOUND / 2
    assert _correlations(words[lag:] ^ words[:-lag]) < _BOUND
    # The control: multiples of a large number are even, but not independent.
    words = np.arange(2**18 + lag, dtype=np.uint32) * np.uint32(0x9E3779B9)
    assert _bias(words) < _BOUND / 2 < 0.1 < _bias(words[lag:] ^ words[:-lag])


@pytest.mark.parametrize("seeds", [(7, 7), (7 + 2**20, 6), (7, 6 + 2**16)])
def test_each_word_of_the_seed_makes_another_stream(seeds):
    first, second = (
        np.asarray(_hashed(np.array(pair, np.uint32), (2**18,)))
        for pair in ((7, 6), seeds)
    )
    assert _bias(first ^ second) < _BOUND / 2
    assert _correlations(first ^ second) < _BOUND
    for lag in range(1, 20):  # nor is one the other, moved on
        assert (first[lag:] != second[:-lag]).mean() > 0.99


def test_mapped_keys_have_masks_of_their_own():
    keys = lambda: jax.random.split(jax.random.key(9), 64)
    words = np.asarray(jax.vmap(lambda key: hashed_bits(key, (2**12,)))(keys()))
    np.testing.assert_array_equal(words[5], hashed_bits(keys()[5], (2**12,)))
    assert _bias(words.ravel()) < _BOUND / 2
    assert _bias((words[1:] ^ words[:-1]).ravel()) < _BOUND / 2


def test_all_masks_of_a_pass_differ():
    """Of calls, of modules and of blocks."""

    class Blocks(nn.Module):
        @nn.compact
        def __call__(self, x):
            one, other = Dropout(0.5), Dropout(0.5)
            return [drop(x, False) for drop in (one, one, other)]

    masks = Blocks().apply({}, jnp.ones(100), rngs={"dropout": jax.random.key(1)})
    assert len({np.asarray(mask).tobytes() for mask in masks}) == 3


def test_bytes_are_uniform():
    words = _bits(4, (2**18,))
    for shift in (0, 8, 16, 24):
        seen = np.bincount((words >> np.uint32(shift)) & 255, minlength=256)
        assert tables.p_value(seen, np.ones(256)) > 1e-5
    # The control: one value twice as often.
    seen[7] *= 2
    assert tables.p_value(seen, np.ones(256)) < 1e-5


def test_places_are_counted_row_by_row():
    words = _bits(5, (3, 4, 5))
    np.testing.assert_array_equal(words.ravel(), _bits(5, (60,)))


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
