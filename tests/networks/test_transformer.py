import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from insertion_jax.networks import transformer
from insertion_jax.networks.transformer import TransformerConfig


def test_rotation_keeps_lengths_and_sees_distances_only():
    rng = np.random.default_rng(0)
    query, key = rng.normal(size=(2, 1, 1, 8)).astype(np.float32)
    score = lambda i, j: np.sum(
        transformer.rotate(query, jnp.asarray([i]), 10_000.0)
        * transformer.rotate(key, jnp.asarray([j]), 10_000.0)
    )
    np.testing.assert_allclose(score(0, 0), np.sum(query * key), rtol=1e-5)
    np.testing.assert_allclose(score(9, 4), score(105, 100), rtol=1e-4)
    assert abs(score(9, 4) - score(4, 9)) > 1e-3
    rotated = transformer.rotate(query, jnp.asarray([7]), 10_000.0)
    np.testing.assert_allclose(
        np.linalg.norm(rotated), np.linalg.norm(query), rtol=1e-6
    )


def test_rotation_matches_complex_numbers():
    x = np.random.default_rng(1).normal(size=(2, 3, 8)).astype(np.float32)
    positions = np.array([0, 2, 11])
    phase = positions[:, None] * 100.0 ** (-np.arange(4) / 4)
    turned = (x[..., :4] + 1j * x[..., 4:]) * np.exp(1j * phase)
    made = transformer.rotate(x, jnp.asarray(positions), 100.0)
    expected = np.concatenate([turned.real, turned.imag], axis=-1)
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_attention_matches_its_definition():
    rng = np.random.default_rng(2)
    query = rng.normal(size=(2, 3, 4)).astype(np.float32)
    key, value = rng.normal(size=(2, 2, 5, 4)).astype(np.float32)
    mask = np.array([True, False, True, True, False])
    made = transformer.attend(query, key, value, jnp.asarray(mask))
    scores = query @ key.transpose(0, 2, 1) / 2.0
    weights = np.exp(scores) * mask
    weights /= weights.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(made, weights @ value, atol=1e-5)


def test_attention_to_nothing_is_finite():
    ones = jnp.ones((1, 2, 4))
    run = lambda x: transformer.attend(x, x, x, jnp.zeros(2, bool)).sum()
    value, grad = jax.value_and_grad(run)(ones)
    assert np.isfinite(value)
    assert np.isfinite(grad).all()


def test_counts_are_those_of_the_prompt():
    vector = np.arange(17, dtype=np.float32)[:, None] * np.ones(16, np.float32)
    vectors = {"params": {"vector": vector}}
    prompt = np.array([3, 5, 3, 3, 7, 7] + 20 * [8])
    mask = np.arange(26) != 3
    made = transformer.Counts(tiny.config()).apply(vectors, prompt, mask)
    np.testing.assert_array_equal(made[:6, 0], [2, 1, 2, 2, 2, 2])
    np.testing.assert_array_equal(made[6:], 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 12, "num_heads": 8}, "width 12 is not a multiple of num_heads 8"),
        ({"width": 24, "num_heads": 8}, "even head width, got 24 / 8"),
        ({"dtype": "float16"}, "'float32', 'bfloat16' or 'mixed', got 'float16'"),
    ],
)
def test_config_errors(options, message):
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**options)
