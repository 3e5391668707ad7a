"""Softmax attention and rotary phases, for networks written for one example.

Heads come first, so that the products are plain batched matrix products: on CPUs
clearly faster than with heads between time and features.
"""

import jax
import jax.numpy as jnp


def rotate(x: jax.Array, positions: jax.Array, base: float) -> jax.Array:
    """Rotary position embedding; entry i pairs with entry i + D / 2.

    Args:
      x: float[H, T, D], D even.
      positions: int[T].
      base: of the frequencies `base^(-2i / D)`.

    Returns:
      float[H, T, D].

    Source: Su et al., arXiv 2104.09864.
    """
    half = x.shape[-1] // 2
    frequency = base ** (-jnp.arange(half) / half)
    angle = positions[:, None] * frequency
    cos, sin = jnp.cos(angle).astype(x.dtype), jnp.sin(angle).astype(x.dtype)
    # Joined first, sines are computed once. Where halves of x are multiplied and then
    # joined, XLA computes them anew on CPUs for each head, half and gradient, which takes
    # longer than all the rest of it.
    cos = jnp.concatenate([cos, cos], axis=-1)
    sin = jnp.concatenate([-sin, sin], axis=-1)
    return x * cos + jnp.roll(x, half, axis=-1) * sin


def scaled_scores(query: jax.Array, key: jax.Array) -> jax.Array:
    """float[H, T, D], float[H, S, D] -> float32[H, T, S], divided by sqrt(D)."""
    scale = query.shape[-1] ** -0.5
    return jnp.einsum(
        "htd,hsd->hts", query * scale, key, preferred_element_type=jnp.float32
    )


def attend(scores: jax.Array, visible: jax.Array, value: jax.Array) -> jax.Array:
    """Means of values, weighted by the softmax of scores; weights are in float32.

    Args:
      scores: float32[H, T, S].
      visible: bool[S] or bool[T, S]; where nothing is, all weights are equal.
      value: float[H, S, D].

    Returns:
      float[H, T, D], of the dtype of `value`.
    """
    scores = jnp.where(visible, scores, jnp.finfo(jnp.float32).min)
    return jax.lax.platform_dependent(
        scores, value, cpu=_divided_after, default=_divided_before
    )


def _divided_before(scores, value):
    weights = jax.nn.softmax(scores).astype(value.dtype)
    return jnp.einsum("hts,hsd->htd", weights, value)


def _divided_after(scores, value):
    """The same, divided by the sum of the weights after the product.

    The gradient then needs no sum over the keys of each query, which takes CPUs as long
    as the products. It is left to them: with factors rounded to less than float32 it
    would be less exact, for what softmax's gradient takes off is rounded alike.
    """
    largest = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
    weights = jnp.exp(scores - largest)
    total = jnp.einsum(
        "hts,hsd->htd",
        weights.astype(value.dtype),
        value,
        preferred_element_type=weights.dtype,
    )
    # As a product, for the sake of its gradient: see `networks/norm.py`.
    mean = jnp.einsum("htd,ht->htd", total, 1 / weights.sum(axis=-1))
    return mean.astype(value.dtype)
