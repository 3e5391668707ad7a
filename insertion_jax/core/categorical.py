"""Categorical laws: masked logits, temperature, nucleus, greedy."""

import chex
import jax
import jax.numpy as jnp

# Log-probability of what cannot happen: finite, so that products with zero
# weights and their gradients stay finite too.
IMPOSSIBLE = -1e30


def widen(logits: chex.Array) -> chex.Array:
    """Logits in float32 at least: probabilities are not for bfloat16."""
    logits = jnp.asarray(logits)
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


def masked_log_softmax(logits: chex.Array, mask: chex.Array) -> chex.Array:
    """Log-probabilities of a softmax over the entries of a mask.

    Args:
      logits: float[..., N].
      mask: bool[..., N]; may be all false.

    Returns:
      float[..., N], float32 or wider; finite and meaningless outside the mask.
    """
    return jax.nn.log_softmax(jnp.where(mask, widen(logits), IMPOSSIBLE))


def nucleus(log_probs: chex.Array, top_p: float) -> chex.Array:
    """Keeps the most probable outcomes whose total first reaches `top_p`.

    Args:
      log_probs: float[N], normalised.
      top_p: in (0, 1]; the most probable outcome is always kept.

    Returns:
      float[N], `-inf` at outcomes outside the nucleus; not renormalised.

    Source: Holtzman et al., arXiv 1904.09751.
    """
    chex.assert_rank(log_probs, 1)
    order = jnp.argsort(-log_probs)
    # Not `cumsum - probs`, whose rounding keeps one more where a sum is `top_p`.
    mass = jnp.cumsum(jnp.exp(log_probs[order]))
    mass_before = jnp.concatenate([jnp.zeros(1, mass.dtype), mass[:-1]])
    kept = jnp.zeros(log_probs.shape, bool).at[order].set(mass_before < top_p)
    return jnp.where(kept, log_probs, -jnp.inf)


def draw(
    key: chex.PRNGKey,
    log_probs: chex.Array,
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    greedy: bool = False,
) -> chex.Array:
    """Draws one outcome.

    Args:
      key: typed PRNG key; unused if greedy.
      log_probs: float[N], normalised.
      temperature: > 0, static; log-probabilities are divided by it.
      top_p: nucleus, static, taken after the temperature; 1 keeps everything.
      greedy: static; take the most probable outcome instead.

    Returns:
      int32[].

    Raises:
      ValueError: for a temperature or a nucleus out of range.
    """
    if not temperature > 0:
        raise ValueError(
            f"temperature must be positive, got {temperature}; "
            "use greedy=True for its limit at 0."
        )
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must lie in (0, 1], got {top_p}.")
    if greedy:
        return jnp.argmax(log_probs).astype(jnp.int32)
    if temperature != 1.0:
        log_probs = jax.nn.log_softmax(log_probs / temperature)
    if top_p < 1.0:
        log_probs = nucleus(log_probs, top_p)
    return jax.random.categorical(key, log_probs).astype(jnp.int32)
