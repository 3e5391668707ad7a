"""Ancestral sampling: insert a token, look again, until the policy stops."""

import chex
import jax
import jax.numpy as jnp

from insertion_jax.core import actions, categorical, trajectories
from insertion_jax.types import Canvas, Trace


def sample(
    key: chex.PRNGKey,
    policy,
    canvas: Canvas,
    *,
    max_length: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    greedy: bool = False,
    closed: chex.Array | None = None,
    eos_id: int | None = None,
) -> tuple[Canvas, Trace]:
    """Inserts tokens until the policy stops (ancestral sampling).

    Under `vmap` the rows of a batch run in one loop, as long as the longest.

    Args:
      key: typed PRNG key.
      policy: `Canvas -> InsertionLogits`.
      canvas: what stands at the start; empty, or the anchored tokens.
      max_length: the canvas is full at this length; at most L.
      temperature: > 0, static, of both draws, location and content.
      top_p: nucleus of both draws, in (0, 1], static.
      greedy: static; take the most probable location, then its most probable token.
      closed: bool[L + 1], closed gaps.
      eos_id: the EOS token; None for policy termination.

    Returns:
      `(canvas, trace)`; a policy that would go on at a full canvas is cut off,
      with `trace.stopped` false.

    Raises:
      ValueError: if `max_length` is larger than the canvas.
    """
    size = canvas.tokens.shape[0]
    if max_length > size:
        raise ValueError(
            f"max_length {max_length} is larger than the canvas of {size} tokens."
        )
    options = {"temperature": temperature, "top_p": top_p, "greedy": greedy}
    nothing = jnp.full(size, -1, jnp.int32)
    start = Trace(nothing, nothing, jnp.int32(0), jnp.asarray(False))

    def unfinished(carry):
        _, _, _, done = carry
        return ~done

    def step(carry):
        key, canvas, trace, _ = carry
        key, key_slot, key_token = jax.random.split(key, 3)
        log_probs = actions.action_log_probs(policy(canvas), canvas, closed, eos_id)
        outcomes = log_probs.slot
        if eos_id is None:
            outcomes = jnp.append(outcomes, log_probs.stop)
        slot = categorical.draw(key_slot, outcomes, **options)
        content = log_probs.token[jnp.minimum(slot, size)]
        token = categorical.draw(key_token, content, **options)
        stop = slot == size + 1 if eos_id is None else token == eos_id
        full = canvas.length >= max_length
        done = stop | full
        grown = trajectories.insert(canvas, slot, token)
        canvas = jax.tree.map(lambda new, old: jnp.where(done, old, new), grown, canvas)
        number = jnp.where(done, size, trace.num_steps)  # out of range: not written
        trace = Trace(
            trace.slot.at[number].set(slot, mode="drop"),
            trace.token.at[number].set(token, mode="drop"),
            trace.num_steps + ~done,
            stop,
        )
        return key, canvas, trace, done

    _, canvas, trace, _ = jax.lax.while_loop(
        unfinished, step, (key, canvas, start, jnp.asarray(False))
    )
    return canvas, trace
