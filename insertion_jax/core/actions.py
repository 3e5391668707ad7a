"""From a policy's logits to the log-probabilities of its actions.

One action inserts one token or stops. Its probability has two factors,

    p(insert y at z | canvas) = p(z | canvas) * p(y | z, canvas),

and stopping comes in two kinds (Zhang et al., arXiv 2606.02133):

- *policy termination*: a stop outcome competes with the slots;
- *EOS termination*: stopping is the insertion of an EOS token, which is possible
  at the last slot alone: p(stop) = p(z = n) * p(EOS | n).
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from insertion_jax.core import categorical, trajectories
from insertion_jax.types import Canvas, InsertionLogits


class ActionLogProbs(NamedTuple):
    """Log-probabilities in nats, float32 or wider.

    Attributes:
      slot: float[L + 1], of inserting somewhere; `categorical.IMPOSSIBLE` where not open.
      stop: float[].
      token: float[L + 1, V], given the slot.
    """

    slot: chex.Array
    stop: chex.Array
    token: chex.Array


def action_log_probs(
    logits: InsertionLogits,
    canvas: Canvas,
    closed: chex.Array | None = None,
    eos_id: int | None = None,
) -> ActionLogProbs:
    """Normalises a policy's logits over what the canvas allows.

    Args:
      logits: what the policy said; bfloat16 is widened to float32 first.
      canvas: n tokens of at most L.
      closed: bool[L + 1], closed gaps; None for none. With EOS termination the
        last gap must be open, else nothing can ever stop.
      eos_id: the EOS token; None for policy termination.

    Returns:
      `ActionLogProbs`. The slots and, under policy termination, the stop outcome
      sum to one; under EOS termination the stop outcome is that share of the last
      slot which its EOS token has, and EOS has probability 0 at other slots.
    """
    size = canvas.tokens.shape[0]
    chex.assert_shape(logits.token, (size + 1, None))
    log_slot, log_stop = location_log_probs(
        logits.slot, logits.stop, canvas, closed, eos_id
    )
    is_last = jnp.arange(size + 1) == canvas.length
    log_token = content_log_probs(logits.token, is_last[:, None], eos_id)
    if eos_id is not None:
        log_stop = log_slot[canvas.length] + log_token[canvas.length, eos_id]
    return ActionLogProbs(log_slot, log_stop, log_token)


def location_log_probs(
    slot: chex.Array,
    stop: chex.Numeric,
    canvas: Canvas,
    closed: chex.Array | None = None,
    eos_id: int | None = None,
) -> tuple[chex.Array, chex.Array]:
    """Normalises over the open slots and, under policy termination, stopping.

    Args:
      slot: float[L + 1], logits.
      stop: float[], logit; unused under EOS termination.
      canvas: n tokens of at most L.
      closed: bool[L + 1], closed gaps; None for none.
      eos_id: the EOS token; None for policy termination.

    Returns:
      `(slot, stop)`, float[L + 1] and float[]; stopping as a location is
      `categorical.IMPOSSIBLE` under EOS termination.
    """
    chex.assert_shape(slot, (canvas.tokens.shape[0] + 1,))
    slot = categorical.widen(slot)
    slot = jnp.where(
        trajectories.open_slots(canvas, closed), slot, categorical.IMPOSSIBLE
    )
    if eos_id is not None:
        return jax.nn.log_softmax(slot), jnp.full(
            (), categorical.IMPOSSIBLE, slot.dtype
        )
    outcomes = jax.nn.log_softmax(jnp.append(slot, jnp.asarray(stop, slot.dtype)))
    return outcomes[:-1], outcomes[-1]


def content_log_probs(
    token: chex.Array, is_last: chex.Numeric, eos_id: int | None = None
) -> chex.Array:
    """Normalises over the tokens that a slot may take.

    Args:
      token: float[..., V], logits.
      is_last: bool[..., 1] or bool[], whether the slot is the last one, where alone
        EOS may stand.
      eos_id: the EOS token; None for policy termination.

    Returns:
      float[..., V].
    """
    token = categorical.widen(token)
    if eos_id is not None:
        misplaced = (jnp.arange(token.shape[-1]) == eos_id) & ~is_last
        token = jnp.where(misplaced, categorical.IMPOSSIBLE, token)
    return jax.nn.log_softmax(token)


def insertion_log_probs(
    log_probs: ActionLogProbs, tokens: chex.Array, included: chex.Array
) -> tuple[chex.Array, chex.Array]:
    """Log-probabilities of inserting each missing position next.

    Args:
      log_probs: of the canvas that holds the included positions.
      tokens: int[L], the complete sequence.
      included: bool[L], the positions on the canvas.

    Returns:
      `(slot, token)`, float[L] each: `log p(z_j)` and `log p(x_j | z_j)` with
      `z_j` the slot of position j; meaningful at missing positions.
    """
    slots = trajectories.slot_of(included)
    return log_probs.slot[slots], log_probs.token[slots, tokens]
