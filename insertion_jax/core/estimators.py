"""Estimators that average over discrete samples."""

import chex
import jax
import jax.numpy as jnp


def leave_one_out(log_probs: chex.Array, values: chex.Array) -> chex.Array:
    """Score-function surrogate with a leave-one-out baseline (RLOO).

        (1/M) sum_m log q(s_m) * stop_gradient(v_m - mean_{k != m} v_k)

    Its gradient plus that of `mean(values)` is an unbiased estimate of the
    gradient of `E_q[v]`. Its value means nothing.

    Args:
      log_probs: float[M], log-probabilities of independent samples, in nats.
      values: float[M], what is averaged; not differentiated here.

    Returns:
      float[].

    Raises:
      ValueError: for fewer than two samples.

    Source: Kool et al., "Buy 4 REINFORCE Samples, Get a Baseline for Free!" (2019).
    """
    chex.assert_rank([log_probs, values], 1)
    chex.assert_equal_shape([log_probs, values])
    count = values.shape[0]
    if count < 2:
        raise ValueError(f"leave_one_out needs at least 2 samples, got {count}.")
    others = (jnp.sum(values) - values) / (count - 1)
    return jnp.mean(log_probs * jax.lax.stop_gradient(values - others))


def log_mean_exp(values: chex.Array) -> chex.Array:
    """float[], the log of the mean of `exp(values)`, from float[K]."""
    chex.assert_rank(values, 1)
    return jax.nn.logsumexp(values) - jnp.log(values.shape[0])
