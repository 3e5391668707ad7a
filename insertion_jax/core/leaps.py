"""Canvases with masks, and the leap by which several events happen to one at once.

A mask is a token that stands for one yet to be revealed. It is not of the vocabulary
{0..V - 1}; networks of this package use the id V for it.
"""

from typing import NamedTuple

import chex
import jax.numpy as jnp

from insertion_jax.types import Canvas


class MaskedRates(NamedTuple):
    """What a denoiser says about one canvas with masks, at one time.

    Attributes:
      token: float[L, V], unnormalised logits of the token behind each mask; read at
        masks alone.
      insert: float[L + 1], rate b of insertion into each gap: the hazard is b * r(t).
      unmask: float[L], rate of revealing each mask.
    """

    token: chex.Array
    insert: chex.Array
    unmask: chex.Array


def fit(counts: chex.Array, room: chex.Numeric) -> chex.Array:
    """Cuts counts, from the right, so that their sum is at most the room.

    Args:
      counts: int[N], at least 0.
      room: int[], at least 0.

    Returns:
      int[N].
    """
    ends = jnp.minimum(jnp.cumsum(counts), room)
    return jnp.diff(ends, prepend=0)


def insert_masks(
    canvas: Canvas, counts: chex.Array, mask_id: int
) -> tuple[Canvas, chex.Array]:
    """Inserts masks into the gaps of a canvas, all at once.

    Args:
      canvas: n tokens of at most L.
      counts: int[L + 1], masks for each gap; 0 beyond gap n, and n plus their sum at
        most L (see `fit`).
      mask_id: the mask.

    Returns:
      `(canvas, source)`; `source`, int32[L], is where each token stood before, and -1
      at the new masks and at padding.
    """
    size = canvas.tokens.shape[0]
    chex.assert_shape(counts, (size + 1,))
    place = jnp.arange(size, dtype=jnp.int32)
    moved = place + jnp.cumsum(counts)[:-1]
    moved = jnp.where(place < canvas.length, moved, size)
    source = jnp.full(size, -1, jnp.int32).at[moved].set(place, mode="drop")
    length = (canvas.length + counts.sum()).astype(jnp.int32)
    old = source >= 0
    fill = jnp.where(place < length, mask_id, 0).astype(canvas.tokens.dtype)
    tokens = jnp.where(old, canvas.tokens[source], fill)
    flags = canvas.anchored
    if flags is not None:
        flags = old & flags[source]
    return Canvas(tokens, length, flags), source
