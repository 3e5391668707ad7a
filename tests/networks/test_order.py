import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from insertion_jax.networks import order
from insertion_jax.networks.transformer import TransformerConfig


def _network(**changes):
    network = order.make(tiny.config(**changes), tiny.VOCAB)
    params = jax.jit(network.init)(jax.random.key(0), tiny.example())
    return jax.jit(network.apply), params


def _woken(params):
    """With a head that is not zero."""
    kernel = params["logit"]["kernel"]
    values = jax.random.normal(jax.random.key(1), kernel.shape)
    return params | {"logit": {"kernel": values}}


@pytest.fixture(scope="module")
def network():
    apply, params = _network()
    return apply, _woken(params)


def test_starts_at_the_uniform_order():
    apply, params = _network()
    logits = apply(params, tiny.example())
    assert logits.shape == (6,)
    assert logits.dtype == jnp.float32
    assert not logits.any()
    # But it can leave: the head has a gradient.
    grads = jax.grad(lambda params: apply(params, tiny.example())[0])(params)
    assert np.abs(grads["logit"]["kernel"]).max() > 1e-3


@pytest.mark.parametrize("garbage", [0, 6, 1_000_000, -7])
def test_padding_does_not_matter(network, garbage):
    apply, params = network
    logits = apply(params, tiny.example())[:4]
    other = apply(params, tiny.example(9, 11, garbage))[:4]
    np.testing.assert_allclose(logits, other, atol=1e-5)
    assert np.abs(logits).min() > 1e-3


def test_every_input_matters(network):
    apply, params = network
    example = tiny.example()
    plain = apply(params, example)

    def change(**fields):
        return np.abs(apply(params, example._replace(**fields)) - plain)[:4].min()

    assert change(prompt=np.array([5, 4, 8, 0], np.int32)) > 1e-6
    assert change(tokens=np.array([4, 5, 7, 3, 0, 0], np.int32)) > 1e-6
    assert change(anchored=np.zeros(6, bool)) > 1e-6
    assert change(length=np.int32(3)) > 1e-6


def test_padding_has_no_gradient(network):
    apply, params = network
    example = tiny.example(9, 11, 6)
    loss = lambda params: jnp.sum(apply(params, example)[:4])
    grads = jax.jit(jax.grad(loss))(params)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(grads))
    embedding = np.asarray(grads["embed"]["token"]["embedding"])
    assert not embedding[6].any()
    assert embedding[[3, 4, 5, 7, 8]].any(axis=1).all()


def test_bfloat16_is_close_and_gives_float32(network):
    apply, params = network
    low, _ = _network(dtype="bfloat16")
    logits = low(params, tiny.example())
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits[:4], apply(params, tiny.example())[:4], atol=0.15)


def test_dropout_is_a_function_of_its_key():
    apply, params = _network(dropout=0.3)
    params, example = _woken(params), tiny.example()
    run = lambda *seeds: np.asarray(
        apply(params, example, *map(jax.random.key, seeds))
    )[:4]
    np.testing.assert_array_equal(run(), run())
    np.testing.assert_array_equal(run(1), run(1))
    assert np.abs(run(1) - run()).max() > 1e-3
    assert np.abs(run(1) - run(2)).max() > 1e-3


def test_paper_size():
    network = order.make(TransformerConfig(6, 4, 64), 59)
    params = jax.eval_shape(network.init, jax.random.key(0), tiny.example(112, 22))
    assert sum(x.size for x in jax.tree.leaves(params)) == 398_080
