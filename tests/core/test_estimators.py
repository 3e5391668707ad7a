import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables

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
