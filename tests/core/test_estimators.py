import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
from scipy import special

from insertion_jax.core import estimators

VALUES = np.array([2.0, -1.0, 0.5])
LOGITS = np.array([0.3, -0.7, 1.1])


def _expected_gradient(surrogate, num_samples):
    """Expectation over all tuples of samples of a surrogate's gradient."""

    samples = np.array(list(itertools.product(range(3), repeat=num_samples)))

    def one(logits, index):
        log_q = jax.nn.log_softmax(logits)
        weight = jax.lax.stop_gradient(jnp.exp(log_q[index].sum()))
        # The value itself depends on the logits too.
        values = (VALUES * (1 + logits))[index]
        return weight * (surrogate(log_q[index], values) + jnp.mean(values))

    expected = lambda x: jax.vmap(one, (None, 0))(x, samples).sum()
    return tables.jit(jax.grad(expected))(LOGITS)


def _exact_gradient():
    return jax.grad(
        lambda logits: jnp.sum(jax.nn.softmax(logits) * VALUES * (1 + logits))
    )(jnp.asarray(LOGITS))


@pytest.mark.parametrize("num_samples", [2, 3, 4])
def test_gradient_is_unbiased(num_samples):
    with jax.enable_x64(True):
        np.testing.assert_allclose(
            _expected_gradient(estimators.leave_one_out, num_samples),
            _exact_gradient(),
            atol=1e-12,
        )


def test_control_a_baseline_with_the_sample_itself_is_biased():
    def with_itself(log_probs, values):
        advantage = jax.lax.stop_gradient(values - jnp.mean(values))
        return jnp.mean(log_probs * advantage)

    with jax.enable_x64(True):
        made, exact = _expected_gradient(with_itself, 2), _exact_gradient()
    assert np.abs(made - exact).max() > 0.05


def test_values_are_not_differentiated():
    grad = jax.grad(estimators.leave_one_out, argnums=1)(
        jnp.asarray([0.1, 0.2]), jnp.asarray([3.0, 4.0])
    )
    assert not grad.any()


def test_a_constant_added_to_the_values_cancels():
    log_probs, values = jnp.asarray([-1.0, -2.0, -0.5]), jnp.asarray([3.0, 1.0, 4.0])
    np.testing.assert_allclose(
        estimators.leave_one_out(log_probs, values + 100.0),
        estimators.leave_one_out(log_probs, values),
        rtol=1e-4,
    )


def test_one_sample_is_an_error():
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        estimators.leave_one_out(jnp.zeros(1), jnp.zeros(1))


def test_shapes_must_agree():
    with pytest.raises(AssertionError):
        estimators.leave_one_out(jnp.zeros(2), jnp.zeros(3))


# Pairs (target, rate) of wide ranges, close ones among them.
PAIRS = np.array(
    [
        (x, y)
        for x in (0.0, 1e-6, 0.3, 1.0, 7.0, 1e4)
        for y in (1e-6, 0.3, 1.0, 7.0, 1e4, *(x * (1 + np.array([-1e-3, 0, 0.1, 0.6]))))
        if y > 0
    ],
    np.float32,
)


def _divergence(x, y):
    """The textbook's, in NumPy's float64."""
    return y - x + special.xlogy(x, x / y)


_divergence_and_slopes = tables.jit(
    jax.vmap(jax.value_and_grad(estimators.poisson_divergence, (0, 1)))
)


def test_poisson_divergence_published_values():
    x, y = np.array([(2, 1), (1, 2), (0, 1.5), (3, 3), (0.5, 4)]).T
    published = [0.38629436, 0.30685282, 1.5, 0, 2.46027923]
    made = estimators.poisson_divergence(x, y)
    np.testing.assert_allclose(made, published, atol=1e-6)


def test_poisson_divergence_and_its_slopes():
    x, y = PAIRS.T.astype(float)
    made, (in_target, in_rate) = _divergence_and_slopes(*PAIRS.T)
    # Close rates differ by what is left of the digits of their difference.
    bound = 1e-6 * (_divergence(x, y) + np.abs(x - y))
    assert (np.abs(made - _divergence(x, y)) <= bound).all()
    textbook = (
        np.float32(y)
        - np.float32(x)
        + special.xlogy(PAIRS[:, 0], PAIRS[:, 0] / PAIRS[:, 1])
    )
    assert (np.abs(textbook - _divergence(x, y)) > bound).any()  # control
    np.testing.assert_allclose(in_rate, 1 - x / y, rtol=1e-5, atol=1e-6)
    positive = x > 0
    slope = np.log(x[positive] / y[positive])
    np.testing.assert_allclose(in_target[positive], slope, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(in_target[~positive], -1)


def test_poisson_divergence_is_finite_at_zero():
    x, y = np.array(
        [(0, 0), (0, 1e-30), (2, 0), (1e-30, 1), (1e6, 1e-12)], np.float32
    ).T
    made = _divergence_and_slopes(x, y)
    assert all(np.isfinite(array).all() for array in jax.tree.leaves(made))
    np.testing.assert_array_equal(made[0][:2], y[:2])


def test_poisson_divergence_scales():
    x, y = PAIRS.T
    with jax.enable_x64(True):
        small, large = (
            _divergence_and_slopes(c * x.astype(float), c * y.astype(float))[0]
            for c in (1.0, 1e3)
        )
        np.testing.assert_allclose(large, 1e3 * small, rtol=1e-9, atol=1e-9)


def test_poisson_divergence_is_least_at_the_mean():
    values, probs = np.array([0.0, 1.0, 4.0]), np.array([0.5, 0.3, 0.2])
    expected = lambda y: jnp.sum(probs * estimators.poisson_divergence(values, y))
    rates = np.sum(values * probs) * np.array([0.9, 1, 1.1])
    below, at, above = tables.jit(jax.vmap(jax.grad(expected)))(rates)
    assert abs(at) < 1e-6
    assert below < -0.05
    assert above > 0.05


def test_poisson_divergence_widens_half_precision():
    half = jax.ShapeDtypeStruct((3,), jnp.bfloat16)
    made = jax.eval_shape(estimators.poisson_divergence, half, half)
    assert made.dtype == jnp.float32
