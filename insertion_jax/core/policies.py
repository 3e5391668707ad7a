"""The two kinds of policy behind one face: one to score with, one to sample with.

A *canvas policy* `Canvas -> InsertionLogits` sees what stands on the canvas; a
`TrajectoryPolicy` sees the order in which it came there too. Trajectories and
permutations are in bijection, so for either kind

    p(x) = sum_perm p(x, perm),
    p(x, perm) = p(stop | x, perm) prod_t p(z_t, x_j | x_S, perm_1..perm_t),  j = perm_t

and all that is built on p(x, perm) holds. Only what sums over *sets* of inserted
positions needs a canvas policy.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from insertion_jax.core import actions, categorical, trajectories
from insertion_jax.types import InsertionLogits, TrajectoryPolicy


class StepLogProbs(NamedTuple):
    """Log-probabilities, in nats, of what may happen at one step.

    Attributes:
      slot: float[L], of the slot of each position; meaningful at missing ones.
      token: float[L], of each position's token given its slot.
      stop: float[].
    """

    slot: chex.Array
    token: chex.Array
    stop: chex.Array


def reader(
    policy,
    tokens: chex.Array,
    length: chex.Numeric,
    perm: chex.Array,
    *,
    anchored: chex.Array | None = None,
    closed: chex.Array | None = None,
    eos_id: int | None = None,
    key: chex.PRNGKey | None = None,
) -> Callable[[chex.Numeric], StepLogProbs]:
    """Prepares to score the steps of one trajectory.

    Args:
      policy: `Canvas -> InsertionLogits`, run anew at every step, or a
        `TrajectoryPolicy`, run once, here. With a `key`, the former is called as
        `policy(canvas, key)` with another key at every step.
      tokens: int[L], the complete sequence.
      length: int[].
      perm: int[L], missing positions in order of insertion, then all others.
      anchored: bool[L].
      closed: bool[L + 1], closed gaps.
      eos_id: the EOS token; None for policy termination.
      key: for dropout.

    Returns:
      `read(step, width=L) -> StepLogProbs` of the canvas that holds the anchored
      tokens and `perm[:step]`, for steps up to the number of missing positions. A
      canvas policy is shown the first `width` places, which cost what a sequence of
      that length does; what is read off a canvas that holds more is NaN. A
      `TrajectoryPolicy` ignores the width.
    """
    required = jnp.zeros(tokens.shape[0], bool) if anchored is None else anchored
    if isinstance(policy, TrajectoryPolicy):
        states = policy.encode(tokens, length, perm, anchored, key)
        logits_of = lambda step, _: policy.read(states, step)
    elif key is None:
        logits_of = lambda _, canvas: policy(canvas)
    else:
        logits_of = lambda step, canvas: policy(canvas, jax.random.fold_in(key, step))

    def read(step, width=None):
        included = required | trajectories.prefix_mask(perm, step)
        canvas = trajectories.canvas_of(tokens, included, anchored=anchored)
        gaps = closed
        is_cut = width is not None and not isinstance(policy, TrajectoryPolicy)
        if is_cut:
            canvas = trajectories.cut(canvas, width)
            gaps = None if closed is None else closed[: width + 1]
        log_probs = actions.action_log_probs(
            logits_of(step, canvas), canvas, gaps, eos_id
        )
        slot, token = actions.insertion_log_probs(log_probs, tokens, included)
        read_off = StepLogProbs(slot, token, log_probs.stop)
        if is_cut:
            fits = canvas.length <= width
            read_off = jax.tree.map(lambda x: jnp.where(fits, x, jnp.nan), read_off)
        return read_off

    return read


def incremental(policy) -> TrajectoryPolicy:
    """A policy to sample with: `begin`, `look` and `advance` of `TrajectoryPolicy`.

    Args:
      policy: `Canvas -> InsertionLogits`, or a `TrajectoryPolicy`, which is returned
        as it is.

    Returns:
      `TrajectoryPolicy`; for a canvas policy the cache is the canvas, and `encode`
      and `read` are missing.

    Raises:
      ValueError: for a trajectory policy that cannot be sampled from.
    """
    if isinstance(policy, TrajectoryPolicy):
        if policy.begin is None:
            raise ValueError(
                "This trajectory policy cannot be sampled from: it has no begin, look "
                "and advance."
            )
        return policy

    def look(canvas):
        logits = policy(canvas)
        # The slot of a stop outcome, beyond the last one, holds nothing to read.
        return logits.slot, logits.stop, lambda slot: logits.token[slot]

    return TrajectoryPolicy(
        None, None, lambda canvas: canvas, look, trajectories.insert
    )


def stopping_after(policy, min_insertions: int, eos_id: int | None = None):
    """A policy that cannot stop before it has inserted so many tokens.

    What is built on it agrees: likelihoods, bounds, enumeration and samplers. There
    must be a gap to insert into, or nothing is left to choose from.

    Args:
      policy: `Canvas -> InsertionLogits`, perhaps of a dropout key too, or a
        `TrajectoryPolicy`.
      min_insertions: tokens, not counting those that are anchored.
      eos_id: the EOS token; None for policy termination.

    Returns:
      A policy of the same kind.
    """

    def masked(logits, is_early):
        return jnp.where(is_early, jnp.asarray(categorical.IMPOSSIBLE), logits)

    def without_eos(token, is_early):
        if eos_id is None:
            return token
        is_eos = jnp.arange(token.shape[-1]) == eos_id
        return masked(token, is_early & is_eos)

    def changed(logits, num_inserted):
        is_early = num_inserted < min_insertions
        return InsertionLogits(
            logits.slot,
            masked(logits.stop, is_early),
            without_eos(logits.token, is_early),
        )

    if not isinstance(policy, TrajectoryPolicy):

        def canvas_policy(canvas, *key):
            num_anchored = 0
            if canvas.anchored is not None:
                inside = jnp.arange(canvas.tokens.shape[0]) < canvas.length
                num_anchored = jnp.sum(canvas.anchored & inside)
            return changed(policy(canvas, *key), canvas.length - num_anchored)

        return canvas_policy

    def read(states, step):
        return changed(policy.read(states, step), step)

    if policy.begin is None:
        return policy._replace(read=read)

    def look(cache):
        inner, num_inserted = cache
        slot, stop, content = policy.look(inner)
        is_early = num_inserted < min_insertions
        return (
            slot,
            masked(stop, is_early),
            lambda slot: without_eos(content(slot), is_early),
        )

    def advance(cache, slot, token):
        inner, num_inserted = cache
        return policy.advance(inner, slot, token), num_inserted + 1

    return TrajectoryPolicy(
        policy.encode,
        read,
        lambda canvas: (policy.begin(canvas), jnp.int32(0)),
        look,
        advance,
    )


def replay(
    policy,
    tokens: chex.Array,
    length: chex.Numeric,
    perm: chex.Array,
    anchored: chex.Array | None = None,
):
    """`InsertionLogits` of every step, token by token as a sampler goes.

    Slow; what `TrajectoryPolicy.__call__` gives in one pass.

    Args:
      policy: `Canvas -> InsertionLogits` or a `TrajectoryPolicy` with a cache.
      tokens: int[L].
      length: int[].
      perm: int[L], missing positions in order of insertion, then all others.
      anchored: bool[L].

    Returns:
      `InsertionLogits` with a leading axis of L + 1.
    """
    policy = incremental(policy)
    size = tokens.shape[0]
    required = jnp.zeros(size, bool) if anchored is None else anchored
    start = trajectories.canvas_of(tokens, required, anchored=anchored)

    def step(cache, number):
        slot, stop, content = policy.look(cache)
        token = jax.vmap(content)(jnp.arange(size + 1))
        position = jnp.asarray(perm)[jnp.minimum(number, size - 1)]
        included = required | trajectories.prefix_mask(perm, number)
        cache = policy.advance(
            cache,
            trajectories.slot_of(included)[position],
            jnp.asarray(tokens)[position],
        )
        return cache, (slot, stop, token)

    _, (slot, stop, token) = jax.lax.scan(
        step, policy.begin(start), jnp.arange(size + 1)
    )
    return InsertionLogits(slot, stop, token)
