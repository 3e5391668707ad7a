import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
import tiny

from insertion_jax.networks import order
from insertion_jax.networks.transformer import TransformerConfig


def _network(**changes):
    network = order.make(tiny.config(**changes), tiny.VOCAB)
    return tables.jit(network.apply), tiny.random_params(network.init, tiny.example())


@pytest.fixture(
    scope="module", params=[False, True], ids=["plain", "counts and records"]
)
def network(request):
    made = order.make(tiny.everything(request.param, counts=request.param), tiny.VOCAB)
    params = tiny.random_params(made.init, tiny.example())
    apply = tables.jit(made.apply)
    run = lambda params, example: apply(tiny.resized(params, example), example)
    return run, params


def test_targets_see_counts_of_the_prompt():
    apply, params = _network(num_layers=1, counts=True)
    example = tiny.example()  # no id stands twice in the prompt
    plain = apply(params, example)

    def change(count):
        vector = params["target_counts"]["vector"].copy()
        vector[count] *= -1
        other = apply(params | {"target_counts": {"vector": vector}}, example)
        return np.abs(other - plain)[:4].max()

    assert change(0) > 1e-3 and change(1) > 1e-3
    assert change(2) == 0


def test_starts_at_the_uniform_order():
    network = order.make(tiny.config(num_layers=1), tiny.VOCAB)
    example = tiny.example()

    @tables.jit
    def run(key):
        params = network.init(key, example)
        loss = lambda params: network.apply(params, example)[0]
        return network.apply(params, example), jax.grad(loss)(params)

    logits, grads = run(jax.random.key(0))
    assert logits.shape == (6,)
    assert logits.dtype == jnp.float32
    assert not logits.any()
    # But it can leave: the head has a gradient.
    assert np.abs(grads["logit"]["kernel"]).max() > 1e-3


def test_may_start_at_a_soft_left_to_right_order():
    network = order.make(tiny.config(num_layers=1), tiny.VOCAB, initial_slope=1.5)
    example = tiny.example()
    run = tables.jit(lambda key: network.apply(network.init(key, example), example))
    logits = run(jax.random.key(0))
    np.testing.assert_allclose(logits, -1.5 * np.arange(6), atol=1e-6)
    first = np.exp(logits[0]) / np.exp(logits).sum()
    np.testing.assert_allclose(first, 1 - np.exp(-1.5), atol=1e-3)


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
    _, params = network
    example = tiny.example(9, 11, 6)
    counts = "counts" in params["prompt_segment"]
    plain = order.make(tiny.everything(counts, counts=counts), tiny.VOCAB).apply
    loss = lambda params: jnp.sum(plain(params, example)[:4])
    grads = tables.jit(jax.grad(loss))(tiny.resized(params, example))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(grads))
    embedding = np.asarray(grads["embed"]["token"]["embedding"])
    assert not embedding[6].any()
    assert embedding[[3, 4, 5, 7, 8]].any(axis=1).all()


def test_bfloat16_is_close_and_gives_float32(network):
    apply, params = network
    counts = "counts" in params["prompt_segment"]
    config = tiny.everything(counts, counts=counts, dtype="bfloat16")
    low = order.make(config, tiny.VOCAB).apply
    logits = low(params, tiny.example())
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits[:4], apply(params, tiny.example())[:4], atol=0.15)


def test_dropout_is_a_function_of_its_key():
    apply, params = _network(num_layers=1, dropout=0.3)
    example = tiny.example()
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
