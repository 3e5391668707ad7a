"""Estimators that average over discrete samples."""

import chex
import jax
import jax.numpy as jnp

from insertion_jax.core import categorical

# Rates below it weigh like it in a logarithm, whose slope stays finite.
_LEAST_RATE = 1e-20


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


def poisson_divergence(target: chex.Numeric, rate: chex.Numeric) -> chex.Array:
    """Bregman divergence of two rates, elementwise.

        D(x, y) = y - x + x log(x / y),    0 log 0 = 0

    It is the KL divergence of Poisson laws with these means, so that the `y` that
    minimises `E[D(X, y)]` is `E[X]`; `D(c x, c y) = c D(x, y)`.

    Args:
      target: x >= 0. The derivative in x at 0, where it is infinite, is taken as -1.
      rate: y > 0; finite down to y = 0.

    Returns:
      float, float32 or wider, of the broadcast shape, in nats per unit of rate.

    Source: the loss of FlexMDM (arXiv 2509.01025) and LoFlexMDM (arXiv 2602.18695).
    """
    target, rate = map(categorical.widen, (target, rate))
    positive = target > 0
    y = jnp.maximum(rate, _LEAST_RATE)
    # Close rates: the logarithm of a quotient near 1 would lose what D consists of.
    close = positive & (jnp.abs(y - target) < target / 2)
    near_x, near_y = (jnp.where(close, value, 1.0) for value in (target, y))
    far_x, far_y = (jnp.where(positive & ~close, value, 1.0) for value in (target, y))
    log_ratio = jnp.where(
        close,
        -jnp.log1p((near_y - near_x) / near_x),
        jnp.log(far_x) - jnp.log(far_y),
    )
    return rate - target + jnp.where(positive, target * log_ratio, 0.0)
