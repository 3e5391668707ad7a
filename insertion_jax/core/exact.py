"""Enumeration for short sequences: the oracle for tests, and for one's own models.

A canvas policy sees the *set* of positions on the canvas, so sums over the L!
orders of a sequence fold into sums over its 2^L subsets S:

    a(S)     = sum_{j in S} a(S - j) * p(insert j | S - j)      likelihood
    q(S)     = sum_{j in S} q(S - j) * q(j | S - j)              posterior
    log p(x) = log a(all) + log p(stop | x)
    ELBO(x)  = sum_S q(S) * F(S)

with F(S), the expected value of one step, log p(stop | x) on the complete set and

    F(S)     = sum_{j not in S} q(j | S) * (log p(insert j | S) - log q(j | S))

elsewhere. A `TrajectoryPolicy` sees the order too: its sums run over all orders. Use
float64 where it is enabled (`jax_enable_x64`).
"""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from insertion_jax.core import (
    actions,
    categorical,
    permutations,
    policies,
    trajectories,
)
from insertion_jax.types import TrajectoryPolicy

_MAX_LENGTH = 10
_MAX_LENGTH_OF_ORDERS = 7


def log_likelihood(
    policy,
    tokens: chex.Array,
    length: chex.Numeric,
    *,
    anchored: chex.Array | None = None,
    closed: chex.Array | None = None,
    eos_id: int | None = None,
) -> chex.Array:
    """Exact log-probability of a sequence, summed over all insertion orders.

    Args:
      policy: `Canvas -> InsertionLogits` or a `TrajectoryPolicy`.
      tokens: int[L], L at most 10 (time and memory grow as 2^L); at most 7 for a
        `TrajectoryPolicy` (L!).
      length: int[].
      anchored: bool[L]; with anchored tokens the result is the joint probability
        of the sequence and the places of its anchors.
      closed: bool[L + 1], closed gaps.
      eos_id: the EOS token; None for policy termination.

    Returns:
      float[], nats.

    Raises:
      ValueError: if L is larger than that.
    """
    if isinstance(policy, TrajectoryPolicy):
        _, joint = _over_orders(policy, tokens, length, anchored, closed, eos_id)
        return jax.nn.logsumexp(joint)
    subsets, legal, insert, stop = _table(
        policy, tokens, length, anchored, closed, eos_id
    )
    log_reach = _accumulate(subsets, legal, insert, anchored, tokens.shape[0])
    return log_reach[_complete(subsets, length)] + stop[_complete(subsets, length)]


def elbo(
    policy,
    order_logits: chex.Array,
    tokens: chex.Array,
    length: chex.Numeric,
    *,
    anchored: chex.Array | None = None,
    closed: chex.Array | None = None,
    eos_id: int | None = None,
) -> chex.Array:
    """Exact evidence lower bound under a Plackett-Luce posterior.

    Args:
      policy: `Canvas -> InsertionLogits` or a `TrajectoryPolicy`.
      order_logits: float[L], logits of the posterior over orders.
      tokens: int[L], L at most 10; at most 7 for a `TrajectoryPolicy`.
      length: int[].
      anchored: bool[L].
      closed: bool[L + 1], closed gaps.
      eos_id: the EOS token; None for policy termination.

    Returns:
      float[], nats; at most `log_likelihood`.

    Raises:
      ValueError: if L is larger than that.
    """
    if isinstance(policy, TrajectoryPolicy):
        perms, joint = _over_orders(policy, tokens, length, anchored, closed, eos_id)
        missing = trajectories.missing_positions(tokens.shape[0], length, anchored)
        log_q = jax.vmap(permutations.plackett_luce_log_prob, (None, 0, None))(
            order_logits, perms, missing
        )
        legal = joint > 0.5 * categorical.IMPOSSIBLE
        weight = jnp.where(legal, jnp.exp(log_q), 0.0)
        return jnp.sum(weight * jnp.where(legal, joint - log_q, 0.0))
    subsets, legal, insert, stop = _table(
        policy, tokens, length, anchored, closed, eos_id
    )
    inside = jnp.arange(tokens.shape[0]) < length
    missing = inside & ~subsets
    log_q = categorical.masked_log_softmax(order_logits, missing)
    pick = jnp.where(missing, jnp.exp(log_q), 0.0)
    log_reach = _accumulate(subsets, legal, log_q, anchored, tokens.shape[0])
    value = jnp.sum(pick * jnp.where(missing, insert - log_q, 0.0), axis=1)
    value = jnp.where(missing.any(axis=1), value, stop)
    # Subsets that cannot be reached carry no weight, whatever their value.
    reachable = legal & (log_reach > 0.5 * categorical.IMPOSSIBLE)
    weight = jnp.where(reachable, jnp.exp(log_reach), 0.0)
    return jnp.sum(weight * jnp.where(reachable, value, 0.0))


def _table(policy, tokens, length, anchored, closed, eos_id):
    """Every subset's action log-probabilities: `(subsets, legal, insert, stop)`."""
    chex.assert_rank(tokens, 1)
    size = tokens.shape[0]
    if size > _MAX_LENGTH:
        raise ValueError(
            f"Enumeration is for at most {_MAX_LENGTH} positions, got {size}."
        )
    numbers = np.arange(2**size)
    subsets = jnp.asarray((numbers[:, None] >> np.arange(size)) & 1, bool)
    required = jnp.zeros(size, bool) if anchored is None else anchored
    inside = jnp.arange(size) < length
    legal = jnp.all(subsets <= inside, axis=1) & jnp.all(subsets >= required, axis=1)

    def one(included):
        canvas = trajectories.canvas_of(tokens, included, anchored=anchored)
        log_probs = actions.action_log_probs(policy(canvas), canvas, closed, eos_id)
        slot, token = actions.insertion_log_probs(log_probs, tokens, included)
        return slot + token, log_probs.stop

    insert, stop = jax.vmap(one)(subsets)
    return subsets, legal, insert, stop


def _over_orders(policy, tokens, length, anchored, closed, eos_id):
    """All orders, int[L!, L], and `log p(x, perm)`; impossible for those not legal."""
    chex.assert_rank(tokens, 1)
    size = tokens.shape[0]
    if size > _MAX_LENGTH_OF_ORDERS:
        raise ValueError(
            f"Enumeration of a trajectory policy's orders is for at most "
            f"{_MAX_LENGTH_OF_ORDERS} positions, got {size}."
        )
    perms = jnp.asarray([*itertools.permutations(range(size))], jnp.int32)
    missing = trajectories.missing_positions(size, length, anchored)
    count = missing.sum()
    steps = jnp.arange(size + 1)

    def one(perm):
        read = policies.reader(
            policy,
            tokens,
            length,
            perm,
            anchored=anchored,
            closed=closed,
            eos_id=eos_id,
        )
        log_probs = jax.vmap(read)(jnp.minimum(steps, count))
        picked = jnp.take_along_axis(
            log_probs.slot[:-1] + log_probs.token[:-1], perm[:, None], axis=1
        )[:, 0]
        inserted = jnp.sum(jnp.where(steps[:-1] < count, picked, 0.0))
        # Missing positions first, and all others in increasing order.
        rest = jnp.where(missing[perm], -1, perm)
        legal = jnp.all(rest[1:] >= rest[:-1])
        joint = inserted + log_probs.stop[-1]
        return jnp.where(legal, joint, categorical.IMPOSSIBLE)

    return perms, jax.lax.map(one, perms, batch_size=128)


def _accumulate(subsets, legal, log_step, anchored, size):
    """Log of the sum, over orders that end in each subset, of their step products."""
    bits = 2 ** np.arange(size)
    required = jnp.zeros(size, bool) if anchored is None else anchored
    start = jnp.sum(jnp.where(required, bits, 0))

    def visit(number, log_reach):
        # Subsets are visited in increasing order: each S - j comes before S.
        members = subsets[number] & ~required
        previous = jnp.where(members, number - bits, 0)
        arrivals = log_reach[previous] + log_step[previous, jnp.arange(size)]
        arrivals = jnp.where(members, arrivals, categorical.IMPOSSIBLE)
        total = jnp.where(
            members.any(), jax.nn.logsumexp(arrivals), categorical.IMPOSSIBLE
        )
        known = (number == start) | ~legal[number]
        return log_reach.at[number].set(jnp.where(known, log_reach[number], total))

    empty = jnp.full(2**size, categorical.IMPOSSIBLE, log_step.dtype).at[start].set(0.0)
    # A Python loop would unroll 2^L steps; fori_loop with static bounds is a scan
    # and so can be differentiated in reverse.
    return jax.lax.fori_loop(0, 2**size, visit, empty)


def _complete(subsets, length):
    """The number of the subset that holds every position of the sequence."""
    size = subsets.shape[1]
    return jnp.sum(jnp.where(jnp.arange(size) < length, 2 ** np.arange(size), 0))
