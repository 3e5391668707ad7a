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
    chex.assert_shape(logits.slot, (size + 1,))
    chex.assert_shape(logits.token, (size + 1, None))
    slot, token = categorical.widen(logits.slot), categorical.widen(logits.token)
    slot = jnp.where(
        trajectories.open_slots(canvas, closed), slot, categorical.IMPOSSIBLE
    )
    if eos_id is None:
        stop = jnp.asarray(logits.stop, slot.dtype)
        outcomes = jax.nn.log_softmax(jnp.append(slot, stop))
        log_slot, log_stop = outcomes[:-1], outcomes[-1]
        log_token = jax.nn.log_softmax(token)
    else:
        is_last = jnp.arange(size + 1) == canvas.length
        is_eos = jnp.arange(token.shape[1]) == eos_id
        misplaced = is_eos[None, :] & ~is_last[:, None]
        log_token = jax.nn.log_softmax(
            jnp.where(misplaced, categorical.IMPOSSIBLE, token)
        )
        log_slot = jax.nn.log_softmax(slot)
        log_stop = log_slot[canvas.length] + log_token[canvas.length, eos_id]
    return ActionLogProbs(log_slot, log_stop, log_token)


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
