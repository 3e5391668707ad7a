import jax
import jax.numpy as jnp
import numpy as np
import pytest

from insertion_jax.networks import attention


def test_rotation_keeps_lengths_and_sees_distances_only():
    rng = np.random.default_rng(0)
    query, key = rng.normal(size=(2, 1, 1, 8)).astype(np.float32)
    score = lambda i, j: np.sum(
        attention.rotate(query, jnp.asarray([i]), 10_000.0)
        * attention.rotate(key, jnp.asarray([j]), 10_000.0)
    )
    np.testing.assert_allclose(score(0, 0), np.sum(query * key), rtol=1e-5)
    np.testing.assert_allclose(score(9, 4), score(105, 100), rtol=1e-4)
    assert abs(score(9, 4) - score(4, 9)) > 1e-3
    rotated = attention.rotate(query, jnp.asarray([7]), 10_000.0)
    np.testing.assert_allclose(
        np.linalg.norm(rotated), np.linalg.norm(query), rtol=1e-6
    )


def test_rotation_matches_complex_numbers():
    x = np.random.default_rng(1).normal(size=(2, 3, 8)).astype(np.float32)
    positions = np.array([0, 2, 11])
    phase = positions[:, None] * 100.0 ** (-np.arange(4) / 4)
    turned = (x[..., :4] + 1j * x[..., 4:]) * np.exp(1j * phase)
    made = attention.rotate(x, jnp.asarray(positions), 100.0)
    expected = np.concatenate([turned.real, turned.imag], axis=-1)
    np.testing.assert_allclose(made, expected, atol=1e-5)
    low = attention.rotate(x.astype(jnp.bfloat16), jnp.asarray(positions), 100.0)
    assert low.dtype == jnp.bfloat16
    np.testing.assert_allclose(low.astype(np.float32), expected, atol=0.05)


def _inputs(dtype=np.float32):
    rng = np.random.default_rng(2)
    query = rng.normal(size=(2, 3, 4))
    key, value = rng.normal(size=(2, 2, 5, 4))
    return [jnp.asarray(x, dtype) for x in (query, key, value)]


def _attend(query, key, value, visible):
    return attention.attend(attention.scaled_scores(query, key), visible, value)


def _definition(query, key, value, visible):
    scores = query @ key.transpose(0, 2, 1) / 2.0
    scores = jnp.where(visible, scores, jnp.finfo(jnp.float32).min)
    return jax.nn.softmax(scores) @ value


_MASKS = {
    "keys": np.array([True, False, True, True, False]),
    "pairs": np.arange(15).reshape(3, 5) % 4 != 1,
    "nothing": np.zeros(5, bool),
}


@pytest.mark.parametrize("visible", _MASKS.values(), ids=_MASKS)
def test_attention_and_its_gradients_match_the_definition(visible):
    inputs = _inputs()
    weight = np.random.default_rng(3).normal(size=(2, 3, 4)).astype(np.float32)
    values, grads = zip(
        *(
            (
                run(*inputs, visible),
                jax.grad(
                    lambda *x, run=run: (run(*x, visible) * weight).sum(), (0, 1, 2)
                )(*inputs),
            )
            for run in (_attend, _definition)
        ),
        strict=True,
    )
    np.testing.assert_allclose(*values, atol=1e-5)
    for made, expected in zip(*grads, strict=True):
        np.testing.assert_allclose(made, expected, atol=1e-5)
    assert np.abs(grads[0][2]).max() > 0.01


def test_large_scores_stay_finite():
    query, key, value = _inputs()
    visible = _MASKS["keys"]
    values, grads = zip(
        *(
            jax.value_and_grad(lambda x, run=run: run(x, key, value, visible).sum())(
                1e4 * query
            )
            for run in (_attend, _definition)
        ),
        strict=True,
    )
    np.testing.assert_allclose(*values, rtol=1e-5)
    np.testing.assert_allclose(*grads, atol=1e-5)


@pytest.mark.parametrize(
    "form", [attention._divided_after, attention._divided_before], ids=["cpu", "others"]
)
def test_attention_of_bfloat16_sums_in_float32(form):
    """The control: sums in bfloat16 are wrong by far more."""
    rng = np.random.default_rng(4)
    scores = jnp.asarray(0.5 * rng.normal(size=(1, 3, 2_000)), jnp.float32)
    value = jnp.asarray(1 + rng.normal(size=(1, 2_000, 4)), jnp.bfloat16)
    made = form(scores, value)
    assert made.dtype == jnp.bfloat16
    expected = jax.nn.softmax(scores) @ value.astype(jnp.float32)
    np.testing.assert_allclose(np.asarray(made, np.float32), expected, atol=0.01)
    low = jnp.zeros((3,), jnp.bfloat16)
    for weight in jnp.exp(scores).astype(jnp.bfloat16)[0].T:
        low += weight
    assert np.abs(low / jnp.exp(scores)[0].sum(axis=-1) - 1).min() > 0.05
