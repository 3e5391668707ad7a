import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from insertion_jax.networks.norm import LayerNorm

_X = np.random.default_rng(0).normal(1.0, 2.0, size=(4, 3, 16)).astype(np.float32)


def _params():
    ours, theirs = LayerNorm("float32"), nn.LayerNorm(use_bias=False)
    params = theirs.init(jax.random.key(0), _X)
    chex.assert_trees_all_equal(ours.init(jax.random.key(0), _X), params)
    scale = np.linspace(0.5, 2.0, 16, dtype=np.float32)
    return ours, theirs, {"params": {"scale": scale}}


def test_value_and_gradients_are_those_of_flax():
    ours, theirs, params = _params()
    weight = np.random.default_rng(1).normal(size=_X.shape)

    def loss(module):
        # Mapped, as networks are.
        run = jax.vmap(module.apply, (None, 0))
        return lambda params, x: (run(params, x) * weight).sum()

    chex.assert_trees_all_close(
        *(
            jax.value_and_grad(loss(module), (0, 1))(params, _X)
            for module in (ours, theirs)
        ),
        rtol=1e-4,
        atol=1e-4,
    )


def test_rows_have_no_mean_and_variance_one():
    ours, _, _ = _params()
    out = np.asarray(
        ours.apply({"params": {"scale": np.ones(16, np.float32)}}, 1e3 * _X)
    )
    np.testing.assert_allclose(out.mean(axis=-1), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(axis=-1), 1, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_statistics_are_in_float32(dtype):
    x = jnp.asarray(100 + _X, jnp.bfloat16)
    out = LayerNorm(dtype).apply({"params": {"scale": np.ones(16, np.float32)}}, x)
    assert out.dtype == dtype
    x = np.asarray(x, np.float64)
    expected = (x - x.mean(axis=-1, keepdims=True)) / x.std(axis=-1, keepdims=True)
    np.testing.assert_allclose(np.asarray(out, np.float64), expected, atol=0.02)


def test_constant_rows_are_zero():
    out = LayerNorm("float32").apply(
        {"params": {"scale": np.ones(4, np.float32)}}, np.full((2, 4), 7.0, np.float32)
    )
    assert not out.any()
