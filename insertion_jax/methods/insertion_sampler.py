"""Ancestral sampling: insert a token, look again, until the policy stops."""

import chex
import jax
import jax.numpy as jnp

from insertion_jax.core import actions, categorical, policies, trajectories
from insertion_jax.types import Canvas, Trace, TrajectoryPolicy

# Under `vmap`, a loop whose rows end at different steps copies all it carries at
# every turn. With a cache of keys and values that costs more than the steps
# themselves, so that several steps make one turn.
_STEPS_A_TURN = 8


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

    Under `vmap` the rows of a batch run in one loop, as long as the longest. A
    `TrajectoryPolicy` with a cache pays for one token an insertion, a canvas policy
    for the whole canvas.

    Args:
      key: typed PRNG key.
      policy: `Canvas -> InsertionLogits` or a `TrajectoryPolicy`.
      canvas: what stands at the start; empty, or the anchored tokens.
      max_length: the canvas is full at this length; at most L.
      temperature: > 0, static, of both draws, location and content.
      top_p: nucleus of both draws, in (0, 1], static.
      greedy: static; take the most probable location, then its most probable token.
      closed: bool[L + 1], closed gaps.
      eos_id: the EOS token; None for policy termination.

    Returns:
      `(canvas, trace)`; a policy that would go on at a full canvas is cut off,
      with `trace.stopped` false, as it is where EOS should end and no gap is open.

    Raises:
      ValueError: if `max_length` is larger than the canvas, or the policy cannot be
        sampled from.
    """
    size = canvas.tokens.shape[0]
    if max_length > size:
        raise ValueError(
            f"max_length {max_length} is larger than the canvas of {size} tokens."
        )
    options = {"temperature": temperature, "top_p": top_p, "greedy": greedy}
    steps_a_turn = _STEPS_A_TURN if isinstance(policy, TrajectoryPolicy) else 1
    policy = policies.incremental(policy)
    nothing = jnp.full(size, -1, jnp.int32)
    start = Trace(nothing, nothing, jnp.int32(0), jnp.asarray(False))

    def step(carry, _):
        key, cache, canvas, trace, was_done = carry
        key, key_slot, key_token = jax.random.split(key, 3)
        slot_logits, stop_logit, content = policy.look(cache)
        outcomes, log_stop = actions.location_log_probs(
            slot_logits, stop_logit, canvas, closed, eos_id
        )
        if eos_id is None:
            outcomes = jnp.append(outcomes, log_stop)
        slot = categorical.draw(key_slot, outcomes, **options)
        log_token = actions.content_log_probs(
            content(jnp.minimum(slot, size)), slot == canvas.length, eos_id
        )
        token = categorical.draw(key_token, log_token, **options)
        stop = slot == size + 1 if eos_id is None else token == eos_id
        done = was_done | stop | (canvas.length >= max_length)
        if eos_id is not None:
            # With all gaps closed there is no place for EOS either.
            stuck = ~trajectories.open_slots(canvas, closed).any()
            done, stop = done | stuck, stop & ~stuck
        # A finished row goes on with a cache that nobody reads.
        cache = policy.advance(cache, jnp.minimum(slot, canvas.length), token)
        grown = trajectories.insert(canvas, slot, token)
        canvas = jax.tree.map(lambda new, old: jnp.where(done, old, new), grown, canvas)
        number = jnp.where(done, size, trace.num_steps)  # out of range: not written
        trace = Trace(
            trace.slot.at[number].set(slot, mode="drop"),
            trace.token.at[number].set(token, mode="drop"),
            trace.num_steps + ~done,
            jnp.where(was_done, trace.stopped, stop),
        )
        return (key, cache, canvas, trace, done), None

    def unfinished(carry):
        return ~carry[-1]

    def turn(carry):
        if steps_a_turn == 1:
            return step(carry, None)[0]
        return jax.lax.scan(step, carry, length=steps_a_turn)[0]

    carry = (key, policy.begin(canvas), canvas, start, jnp.asarray(False))
    _, _, canvas, trace, _ = jax.lax.while_loop(unfinished, turn, carry)
    return canvas, trace
