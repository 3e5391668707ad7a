"""Insertion trajectories: permutations, slots and the canvases between them.

An order `perm` of final positions and the slots `z_t` of its insertions determine
each other (Zhang et al., arXiv 2606.02133):

    z_t = #{k < t : perm_k < perm_t},   z_t in {0..t}

Training code needs neither list of slots nor a loop: what matters is the *set* of
positions on the canvas, a boolean mask. Compaction is a scatter, the slot of a
missing position an exclusive cumulative sum.

Anchored tokens stand on the canvas from the start. They cut it into gaps: gap `g`
lies before the `g`-th anchored token, the last one after them all. A slot belongs
to the gap given by the number of anchored tokens to its left, and gaps may be
closed to insertion.
"""

import chex
import jax
import jax.numpy as jnp

from insertion_jax.core import permutations
from insertion_jax.types import Canvas


def slots_from_permutation(perm: chex.Array) -> chex.Array:
    """The slot of every insertion: `slots[t] = #{k < t : perm[k] < perm[t]}`.

    Args:
      perm: int[L], final positions in order of insertion.

    Returns:
      int32[L] with `0 <= slots[t] <= t`.
    """
    chex.assert_rank(perm, 1)
    steps = jnp.arange(perm.shape[0])
    earlier = steps[None, :] < steps[:, None]
    to_the_left = perm[None, :] < perm[:, None]
    return jnp.sum(earlier & to_the_left, axis=1, dtype=jnp.int32)


def permutation_from_slots(slots: chex.Array) -> chex.Array:
    """The order that inserts at these slots; inverse of `slots_from_permutation`.

    Args:
      slots: int[L] with `0 <= slots[t] <= t`.

    Returns:
      int32[L], final positions in order of insertion.
    """
    chex.assert_rank(slots, 1)
    steps = jnp.arange(slots.shape[0], dtype=jnp.int32)

    def insert_step(position_of, step_and_slot):
        # Tokens at or right of the slot move one to the right.
        step, slot = step_and_slot
        moved = position_of + (position_of >= slot)
        placed = jnp.where(steps < step, moved, position_of)
        return placed.at[step].set(slot), None

    start = jnp.zeros_like(steps)
    perm, _ = jax.lax.scan(insert_step, start, (steps, slots.astype(jnp.int32)))
    return perm


def prefix_mask(perm: chex.Array, num_inserted: chex.Numeric) -> chex.Array:
    """The positions inserted first.

    Args:
      perm: int[L], final positions in order of insertion.
      num_inserted: int[], how many.

    Returns:
      bool[L], true at `perm[:num_inserted]`.
    """
    return permutations.inverse(perm) < num_inserted


def slot_of(included: chex.Array) -> chex.Array:
    """The slot into which each position would go: `#{k < j : included[k]}`.

    Args:
      included: bool[L], the positions on the canvas (anchored or inserted).

    Returns:
      int32[L]; meaningful at positions that are not included.
    """
    chex.assert_rank(included, 1)
    counts = included.astype(jnp.int32)
    return jnp.cumsum(counts, dtype=jnp.int32) - counts


def canvas_of(
    tokens: chex.Array,
    included: chex.Array,
    pad_id: int = 0,
    anchored: chex.Array | None = None,
) -> Canvas:
    """The partial sequence of the included positions, compacted to the left.

    Args:
      tokens: int[L], the complete sequence.
      included: bool[L], the positions on the canvas.
      pad_id: fills the rest.
      anchored: bool[L], which positions are anchored; None for none.

    Returns:
      `Canvas` of L entries.
    """
    chex.assert_rank([tokens, included], 1)
    chex.assert_equal_shape([tokens, included])
    size = tokens.shape[0]
    target = jnp.where(included, slot_of(included), size)
    compact = jnp.full(size, pad_id, tokens.dtype).at[target].set(tokens, mode="drop")
    flags = None
    if anchored is not None:
        flags = jnp.zeros(size, bool).at[target].set(anchored, mode="drop")
    return Canvas(compact, jnp.sum(included, dtype=jnp.int32), flags)


def cut(canvas: Canvas, width: int) -> Canvas:
    """The first `width` of L places, for canvases known to hold no more; else wrong."""
    flags = None if canvas.anchored is None else canvas.anchored[:width]
    return Canvas(canvas.tokens[:width], canvas.length, flags)


def insert(canvas: Canvas, slot: chex.Numeric, token: chex.Numeric) -> Canvas:
    """Inserts one token; a full canvas is returned unchanged.

    Args:
      canvas: n tokens of at most L.
      slot: int[] in 0..n; the new token comes before token `slot`.
      token: int[].

    Returns:
      `Canvas`; anchored tokens move along with their flags, the new token is not
      anchored.
    """
    chex.assert_rank(canvas.tokens, 1)
    size = canvas.tokens.shape[0]
    position = jnp.arange(size)
    full = canvas.length >= size

    def shifted(values, new):
        moved = jnp.where(position < slot, values, jnp.roll(values, 1))
        moved = jnp.where(position == slot, jnp.asarray(new, values.dtype), moved)
        return jnp.where(full, values, moved)

    flags = None if canvas.anchored is None else shifted(canvas.anchored, False)
    length = jnp.minimum(canvas.length + 1, size).astype(jnp.int32)
    return Canvas(shifted(canvas.tokens, token), length, flags)


def open_slots(canvas: Canvas, closed: chex.Array | None = None) -> chex.Array:
    """The slots into which a token may be inserted.

    Args:
      canvas: n tokens of at most L.
      closed: bool[L + 1], by gap; None for none closed.

    Returns:
      bool[L + 1], false beyond slot n and in closed gaps. With `c` open gaps and
      `t` tokens inserted exactly `c + t` slots are open.
    """
    size = canvas.tokens.shape[0]
    existing = jnp.arange(size + 1) <= canvas.length
    if closed is None:
        return existing
    chex.assert_shape(closed, (size + 1,))
    if canvas.anchored is None:
        return existing & ~closed[0]
    within = jnp.arange(size) < canvas.length
    anchors = (canvas.anchored & within).astype(jnp.int32)
    gap = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(anchors)])
    return existing & ~jnp.asarray(closed)[gap]


def missing_positions(
    size: int, length: chex.Numeric, anchored: chex.Array | None
) -> chex.Array:
    """bool[L]: positions of the sequence that have to be inserted."""
    inside = jnp.arange(size) < length
    return inside if anchored is None else inside & ~anchored
