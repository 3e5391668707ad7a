"""What is left of a sequence at a time t: some tokens absent, some masked.

Every token has an insertion and an unmasking time. Before the first it is absent,
between the two a mask, after the second itself (FlexMDM, arXiv 2509.01025;
LoFlexMDM, arXiv 2602.18695). A network sees the *contracted* sequence, without
absent tokens, and is asked how much is absent at each of its gaps.

Positions count in the complete sequence of `length` tokens, places in the visible
one of n. A sequence ends with an end that is never absent and has no array entry,
so there are n + 1 gaps: gap k lies before visible token k, gap n before the end.
Fixed tokens are anchored: neither dropped nor masked.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from insertion_jax.core import categorical, trajectories

# The states of a token, in the order of `event_times.state_log_probs`.
DROPPED, MASKED, CLEAN = range(3)


class Noised(NamedTuple):
    """One sequence at one time.

    By place, of which the first `length` hold the visible sequence:

    Attributes:
      tokens: int[L], visible tokens and masks, then padding.
      length: int32[], n, the number of visible tokens.
      source: int32[L], the position of each visible token in the complete sequence,
        strictly increasing; 0 in the padding.
      masked: bool[L], which visible tokens are masks.
      anchored: bool[L], which visible tokens are fixed.
      gap: int32[L + 1], the number of absent tokens in each gap; 0 beyond gap n.
      valid_gap: bool[L + 1], the gaps 0..n.
      state: int32[L], by position: `DROPPED`, `MASKED` or `CLEAN`; `CLEAN` in the
        padding.
      dropped: bool[L], by position: the absent tokens.
      free: bool[L], by position: tokens that are not fixed, whose state is random.
      gap_of: int32[L], by position: the gap into which a token would go.
    """

    tokens: chex.Array
    length: chex.Array
    source: chex.Array
    masked: chex.Array
    anchored: chex.Array
    gap: chex.Array
    valid_gap: chex.Array
    state: chex.Array
    dropped: chex.Array
    free: chex.Array
    gap_of: chex.Array


def noise(
    tokens: chex.Array,
    fixed: chex.Array,
    length: chex.Numeric,
    insert_time: chex.Array,
    unmask_time: chex.Array,
    t: chex.Numeric,
    *,
    mask_id: int,
    pad_id: int = 0,
) -> Noised:
    """The sequence at time t, contracted.

    Args:
      tokens: int[L], the complete sequence; entries from `length` on are not read.
      fixed: bool[L], tokens that are there from the start.
      length: int[].
      insert_time: float[L]; a token is absent while `t < insert_time`.
      unmask_time: float[L], not before `insert_time`; a token is a mask while
        `insert_time <= t < unmask_time`.
      t: float[].
      mask_id: the token that stands for a mask.
      pad_id: fills the rest.

    Returns:
      `Noised`. The number of visible tokens and the gaps add up to `length`.
    """
    arrays = [tokens, fixed, insert_time, unmask_time]
    chex.assert_rank(arrays, 1)
    chex.assert_equal_shape(arrays)
    size = tokens.shape[0]
    position = jnp.arange(size, dtype=jnp.int32)
    free = trajectories.missing_positions(size, length, fixed)
    dropped = free & (t < insert_time)
    masked = free & ~dropped & (t < unmask_time)

    state = jnp.where(dropped, DROPPED, jnp.where(masked, MASKED, CLEAN))

    visible = (position < length) & ~dropped
    contract = lambda values, fill: trajectories.canvas_of(values, visible, fill).tokens
    canvas = trajectories.canvas_of(
        jnp.where(masked, mask_id, tokens), visible, pad_id, fixed
    )
    gap_of = trajectories.slot_of(visible)
    return Noised(
        tokens=canvas.tokens,
        length=canvas.length,
        source=contract(position, 0),
        masked=contract(masked, False),
        anchored=canvas.anchored,
        gap=_sum_by_gap(dropped.astype(jnp.int32), gap_of),
        valid_gap=jnp.arange(size + 1) <= canvas.length,
        state=state.astype(jnp.int32),
        dropped=dropped,
        free=free,
        gap_of=gap_of,
    )


def gap_sums(rates: chex.Array, noised: Noised) -> chex.Array:
    """The sum, in every gap, of the rates of its absent tokens.

    The rate at which *some* token appears in a gap. Linear in the rates, with
    gradients; of ones it gives `noised.gap`.

    Args:
      rates: float[L], by position.
      noised: of L positions.

    Returns:
      float[L + 1], float32 or wider; 0 beyond gap n.
    """
    chex.assert_equal_shape([rates, noised.dropped])
    # Not differences of a cumulative sum, which would round small gaps away.
    absent = jnp.where(noised.dropped, categorical.widen(rates), 0.0)
    return _sum_by_gap(absent, noised.gap_of)


def log_prob_of_states(
    state_log_probs: tuple[chex.Array, chex.Array, chex.Array], noised: Noised
) -> chex.Array:
    """Log-probability of the states that all free tokens are in.

    Args:
      state_log_probs: `(log_drop, log_mask, log_clean)`, three float[L] by position,
        at the time of `noised`, as `event_times.state_log_probs` gives them.
      noised: of L positions.

    Returns:
      float[], in nats.
    """
    table = jnp.stack(state_log_probs)
    chex.assert_shape(table, (3, *noised.state.shape))
    realised = jnp.take_along_axis(table, noised.state[None], axis=0)[0]
    return jnp.sum(jnp.where(noised.free, realised, 0.0))


def _sum_by_gap(values: chex.Array, gap_of: chex.Array) -> chex.Array:
    """Sums values by position, which are 0 outside gaps, into [L + 1] gaps."""
    return jax.ops.segment_sum(
        values, gap_of, num_segments=gap_of.shape[0] + 1, indices_are_sorted=True
    )
