"""How probable a sequence is: along one order of insertion, and bounded over all.

    log p(x, perm) = log p(stop | x) + sum_t (log p(z_t | x_S) + log p(x_j | z_t, x_S))

with j = perm_t and S the positions inserted before (Zhang et al., arXiv 2606.02133).
Orders drawn from a Plackett-Luce law q give importance weights p(x, perm) / q(perm).
"""

import chex
import jax
import jax.numpy as jnp

from insertion_jax.core import estimators, permutations, policies, trajectories

# Bounds the memory of scoring a trajectory of hundreds of steps.
_CANVASES_AT_ONCE = 32


def trajectory_log_prob(
    policy,
    tokens: chex.Array,
    length: chex.Numeric,
    perm: chex.Array,
    *,
    anchored: chex.Array | None = None,
    closed: chex.Array | None = None,
    eos_id: int | None = None,
) -> chex.Array:
    """Log-probability of writing a sequence in a given order, and of stopping then.

    Args:
      policy: `Canvas -> InsertionLogits`, run on L + 1 canvases, 32 at once; or a
        `TrajectoryPolicy`, run once.
      tokens: int[L].
      length: int[].
      perm: int[L], missing positions in order of insertion, then all others.
      anchored: bool[L].
      closed: bool[L + 1], closed gaps.
      eos_id: the EOS token; None for policy termination.

    Returns:
      float[], `log p(stop | x) + sum_t (log p(z_t | x_S) + log p(x_j | z_t, x_S))`
      in nats.
    """
    chex.assert_rank([tokens, perm], 1)
    size = tokens.shape[0]
    count = trajectories.missing_positions(size, length, anchored).sum()
    read = policies.reader(
        policy,
        tokens,
        length,
        perm,
        anchored=anchored,
        closed=closed,
        eos_id=eos_id,
    )

    def log_prob_at(step):
        log_probs = read(step)
        position = jnp.asarray(perm)[jnp.minimum(step, size - 1)]
        inserted = log_probs.slot[position] + log_probs.token[position]
        return jnp.where(
            step < count, inserted, jnp.where(step == count, log_probs.stop, 0.0)
        )

    # Steps beyond the last one repeat it, so that their canvases stay legal.
    steps = jnp.arange(size + 1)
    log_probs = jax.lax.map(
        log_prob_at, jnp.minimum(steps, count), batch_size=_CANVASES_AT_ONCE
    )
    return jnp.sum(jnp.where(steps <= count, log_probs, 0.0))


def log_weights(
    key: chex.PRNGKey,
    policy,
    order_logits: chex.Array,
    tokens: chex.Array,
    length: chex.Numeric,
    *,
    num_samples: int,
    anchored: chex.Array | None = None,
    closed: chex.Array | None = None,
    eos_id: int | None = None,
) -> chex.Array:
    """Log importance weights of orders drawn from the posterior.

    Args:
      key: typed PRNG key.
      policy: `Canvas -> InsertionLogits` or a `TrajectoryPolicy`; orders run one
        after the other.
      order_logits: float[L].
      tokens: int[L].
      length: int[].
      num_samples: K.
      anchored: bool[L].
      closed: bool[L + 1], closed gaps.
      eos_id: the EOS token; None for policy termination.

    Returns:
      float[K], `log p(x, perm_k) - log q(perm_k | x)`; their mean estimates the
      ELBO, their log-mean-exp the importance-weighted bound.
    """
    to_insert = trajectories.missing_positions(tokens.shape[0], length, anchored)

    def log_weight(number):
        key_order = jax.random.fold_in(key, number)
        perm = permutations.plackett_luce(key_order, order_logits, to_insert)
        log_p = trajectory_log_prob(
            policy,
            tokens,
            length,
            perm,
            anchored=anchored,
            closed=closed,
            eos_id=eos_id,
        )
        return log_p - permutations.plackett_luce_log_prob(
            order_logits, perm, to_insert
        )

    # Not a map over keys: under `vmap` the key-reuse check of jax mistakes that for
    # a reuse.
    return jax.lax.map(log_weight, jnp.arange(num_samples))


def importance_weighted_bound(
    key: chex.PRNGKey,
    policy,
    order_logits: chex.Array,
    tokens: chex.Array,
    length: chex.Numeric,
    *,
    num_samples: int,
    anchored: chex.Array | None = None,
    closed: chex.Array | None = None,
    eos_id: int | None = None,
) -> chex.Array:
    """Importance-weighted lower bound of the log-likelihood.

    Args: as of `log_weights`.

    Returns:
      float[], `log (1/K) sum_k p(x, perm_k) / q(perm_k | x)` in nats: the ELBO in
      expectation for K = 1, rising to `log p(x)` with K.

    Source: Burda et al., arXiv 1509.00519.
    """
    weights = log_weights(
        key,
        policy,
        order_logits,
        tokens,
        length,
        num_samples=num_samples,
        anchored=anchored,
        closed=closed,
        eos_id=eos_id,
    )
    return estimators.log_mean_exp(weights)
