"""Distributions over insertion orders.

A permutation lists *final positions in order of insertion*: `perm[t]` is the
position, in the finished sequence, of the token inserted at step `t`. Positions
outside the mask (padding, anchored tokens) come last, in increasing order, so
that every permutation of a padded sequence is a permutation of all `L` entries.

The Plackett-Luce law with logits `phi` picks positions one after the other, each
from a softmax over the positions still missing:

    q(perm) = prod_t exp(phi[perm_t]) / sum_{j not in S_t} exp(phi[j])

(Zhang et al., arXiv 2606.02133; Luce, 1959; Plackett, 1975).
"""

import chex
import jax
import jax.numpy as jnp

from insertion_jax.core import categorical

# Logits this far apart make one pick certain, for exp(-128) is 0 in float32. Larger ones
# would swallow the noise that decides between equal ranks.
_CERTAIN_GAP = 128.0


def ranked_logits(rank: chex.Array, certainty: chex.Numeric = 1.0) -> chex.Array:
    """Plackett-Luce logits of a given order, or of one between it and the uniform one.

    Args:
      rank: int[L], the step at which each position is inserted; equal ranks come in
        random order among themselves. At most some thousands.
      certainty: c, float[] in [0, 1]: the next position is picked with probability
        proportional to (1 - c)^rank. 0 is the uniform order, 1 the given one.

    Returns:
      float32[L].
    """
    gap = -jnp.log1p(-jnp.clip(certainty, 0.0, 1.0))
    return -jnp.minimum(gap, _CERTAIN_GAP) * jnp.asarray(rank, jnp.float32)


def uniform(key: chex.PRNGKey, mask: chex.Array) -> chex.Array:
    """Draws an order uniformly.

    Args:
      key: typed PRNG key.
      mask: bool[L], the positions to order.

    Returns:
      int32[L], the masked positions in random order, then all others in
      increasing order.
    """
    return plackett_luce(key, jnp.zeros(mask.shape), mask)


def plackett_luce(
    key: chex.PRNGKey, logits: chex.Array, mask: chex.Array
) -> chex.Array:
    """Draws an order from the Plackett-Luce law.

    The draw is exact: adding independent Gumbel noise to the logits and sorting
    picks from a softmax at every step (Yellott, 1977).

    Args:
      key: typed PRNG key.
      logits: float[L], finite.
      mask: bool[L], the positions to order.

    Returns:
      int32[L], the masked positions in the order drawn, then all others in
      increasing order.
    """
    chex.assert_rank([logits, mask], 1)
    chex.assert_equal_shape([logits, mask])
    logits = categorical.widen(logits)
    noisy = logits + jax.random.gumbel(key, logits.shape, logits.dtype)
    # The sort is stable: positions outside the mask, all at +inf, keep their order.
    descending = jnp.where(mask, -noisy, jnp.inf)
    return jnp.argsort(descending, stable=True).astype(jnp.int32)


def plackett_luce_log_prob(
    logits: chex.Array,
    perm: chex.Array,
    mask: chex.Array,
    num_picks: chex.Numeric | None = None,
) -> chex.Array:
    """Log-probability of the first picks of an order, in the order given.

    Args:
      logits: float[L], finite.
      perm: int[L], an order as `plackett_luce` returns it.
      mask: bool[L], the positions that are ordered.
      num_picks: how many picks to score; all positions in the mask if None.

    Returns:
      float[], `sum_{t < num_picks} (a_t - logsumexp_{s >= t} a_s)` with
      `a_t = logits[perm[t]]`, in nats; 0 for no picks.
    """
    chex.assert_rank([logits, perm, mask], 1)
    chex.assert_equal_shape([logits, perm, mask])
    count = jnp.sum(mask) if num_picks is None else jnp.minimum(num_picks, mask.sum())
    # Masked positions come last, so they can only stand in denominators; there
    # they must weigh nothing.
    picked = jnp.where(mask, categorical.widen(logits), categorical.IMPOSSIBLE)[perm]
    remaining = jax.lax.cumlogsumexp(picked, reverse=True)
    scored = jnp.arange(logits.shape[0]) < count
    return jnp.sum(jnp.where(scored, picked - remaining, 0.0))


def inverse(perm: chex.Array) -> chex.Array:
    """Rank of every position: the step at which it is inserted.

    Args:
      perm: int[L].

    Returns:
      int32[L] with `rank[perm[t]] = t`.
    """
    chex.assert_rank(perm, 1)
    steps = jnp.arange(perm.shape[0], dtype=jnp.int32)
    return jnp.zeros_like(steps).at[perm].set(steps)
