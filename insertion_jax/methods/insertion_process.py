"""The Insertion Process (Zhang et al., arXiv 2606.02133), for any policy.

A sequence x of length L is written by L insertions and a decision to stop. The
order of insertion, a permutation, is latent; its posterior q is a Plackett-Luce
law whose logits a second network reads off the complete sequence:

    log p(x) >= E_q [ log p(stop | x) + sum_t ( log p(z_t | x_S) + log p(x_j | z_t, x_S)
                                               - log q(j | S) ) ],   j = perm_t

Given the set S inserted so far, the sum over the *next* position is closed-form
(the paper's Equation 8):

    F(S) = sum_{j not in S} q(j | S) [ log p(z_j | x_S) + log p(x_j | z_j, x_S)
                                       - log q(j | S) ]
    F(S) = log p(stop | x)                                      if S is complete

so that ELBO = (L + 1) E_{t ~ U{0..L}} E_{S_t ~ q} F(S_t). One training step draws t
and two or more orders; the posterior learns from F's own gradient and from a
score-function term with a leave-one-out baseline, which lowers the variance most
where all orders share t. Anchored positions are never inserted: then L counts the
missing ones.

With a `TrajectoryPolicy` all L + 1 steps of an order cost one pass, and are taken
all (`num_steps=None`): the average over t is exact then. Its score-function term

    sum_t log q(S_t) (F(S_t) - F'(S_t))
      = sum_k log q(perm_k | S_k) sum_{t > k} (F(S_t) - F'(S_t))

weighs each pick by what comes after it, against the same of the other orders.

A policy is any `Canvas -> InsertionLogits` or a `TrajectoryPolicy`. Orders of other
kinds are laws with constant logits (`fixed_order_logits`): zeros give the uniform
order (AO-IP).
"""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from insertion_jax.core import (
    categorical,
    estimators,
    permutations,
    policies,
    trajectories,
)
from insertion_jax.methods import insertion_likelihood, insertion_sampler
from insertion_jax.types import TrajectoryPolicy

trajectory_log_prob = insertion_likelihood.trajectory_log_prob
log_weights = insertion_likelihood.log_weights
importance_weighted_bound = insertion_likelihood.importance_weighted_bound
sample = insertion_sampler.sample

_STEPS_AT_ONCE = 64


class StepTerms(NamedTuple):
    """Expected log-probabilities of one step; `F` is their sum. Nats, float[].

    Attributes:
      slot: of the location.
      token: of the content given the location.
      stop: of stopping; 0 on incomplete canvases.
      order_entropy: entropy of the posterior over the next position.
    """

    slot: chex.Array
    token: chex.Array
    stop: chex.Array
    order_entropy: chex.Array


class SurrogateInfo(NamedTuple):
    """Estimates that come with a surrogate. Nats per sequence, float[].

    Attributes:
      elbo: the ELBO: the four terms below, added.
      slot: sum over steps of the expected log-probability of the location.
      token: the same of the content.
      stop: log-probability of stopping at the complete sequence.
      order_entropy: entropy of the posterior over orders.
      value_variance: variance of one step's value between orders that share the
        step, in squared nats: what the score-function term has to live with; 0 if
        the order is not learned.
    """

    elbo: chex.Array
    slot: chex.Array
    token: chex.Array
    stop: chex.Array
    order_entropy: chex.Array
    value_variance: chex.Array


def fixed_order_logits(order: str, size: int) -> chex.Array:
    """Order logits of an order that is not learned.

    Args:
      order: "uniform" (any-order insertion, AO-IP) or "left_to_right".
      size: L.

    Returns:
      float32[L].

    Raises:
      ValueError: for another order.
    """
    if order == "uniform":
        return jnp.zeros(size)
    if order == "left_to_right":
        return permutations.ranked_logits(jnp.arange(size))
    raise ValueError(f"order must be 'uniform' or 'left_to_right', got {order!r}.")


def step_terms(
    log_probs: policies.StepLogProbs, order_logits: chex.Array, missing: chex.Array
) -> StepTerms:
    """Closed-form value of one step, the terms of F(S) (Equation 8).

    Args:
      log_probs: of the canvas that holds S.
      order_logits: float[L].
      missing: bool[L], positions still to be inserted.

    Returns:
      `StepTerms`.
    """
    log_q = categorical.masked_log_softmax(order_logits, missing)
    next_position = jnp.where(missing, jnp.exp(log_q), 0.0)

    def expected(value):
        return jnp.sum(next_position * jnp.where(missing, value, 0.0))

    stop = jnp.where(missing.any(), 0.0, log_probs.stop)
    return StepTerms(
        expected(log_probs.slot), expected(log_probs.token), stop, expected(-log_q)
    )


def surrogate_from_orders(
    policy,
    order_logits: chex.Array,
    tokens: chex.Array,
    length: chex.Numeric,
    perms: chex.Array,
    num_inserted: chex.Array | None,
    *,
    anchored: chex.Array | None = None,
    closed: chex.Array | None = None,
    eos_id: int | None = None,
    learned: bool = True,
    entropy_weight: chex.Numeric = 0.0,
    dropout_key: chex.PRNGKey | None = None,
    widths: tuple[int, ...] | None = None,
) -> tuple[chex.Array, SurrogateInfo]:
    """The surrogate of `elbo_surrogate` at given orders and steps.

    Args:
      policy: `Canvas -> InsertionLogits` or a `TrajectoryPolicy`; with a
        `dropout_key`, the former is called as `policy(canvas, key)`.
      order_logits: float[L].
      tokens: int[L].
      length: int[].
      perms: int[M, L], draws from the posterior.
      num_inserted: int[K], the steps: draws from the uniform law on {0..m} with m
        missing positions, shared by the M orders; None for all of {0..m}.
      anchored: bool[L].
      closed: bool[L + 1], closed gaps.
      eos_id: the EOS token; None for policy termination.
      learned: whether `order_logits` are trained; if not, there is no
        score-function term and M may be 1.
      entropy_weight: adds this multiple of the posterior's entropy to the
        objective (not to `info.elbo`).
      dropout_key: gives each order's pass a key of its own (each of the K x M
        passes of a canvas policy).
      widths: of canvases, see `canvas_widths`: the k-th K / G steps have canvases of
        at most `widths[k]` tokens; None for L.

    Returns:
      `(surrogate, info)`, see `elbo_surrogate`.
    """
    chex.assert_rank([tokens, order_logits, perms], [1, 1, 2])
    size, num_samples = tokens.shape[0], perms.shape[0]
    to_insert = trajectories.missing_positions(size, length, anchored)
    scale = to_insert.sum() + 1
    steps = jnp.arange(size + 1) if num_inserted is None else num_inserted
    # Of all steps, those beyond the last one count for nothing; they stay legal.
    real = steps < scale
    steps = jnp.minimum(steps, scale - 1)

    def along_order(perm, key):
        read = policies.reader(
            policy,
            tokens,
            length,
            perm,
            anchored=anchored,
            closed=closed,
            eos_id=eos_id,
            key=key,
        )

        def at_step(step, width=None):
            missing = to_insert & ~trajectories.prefix_mask(perm, step)
            log_q_prefix = permutations.plackett_luce_log_prob(
                order_logits, perm, to_insert, step
            )
            return step_terms(read(step, width), order_logits, missing), log_q_prefix

        def at_steps(steps, width=None):
            one = functools.partial(at_step, width=width)
            if steps.size <= _STEPS_AT_ONCE:
                return jax.vmap(one)(steps)
            # The logits of all slots at all steps grow with the cube of the length:
            # they are computed in pieces, and once more in the backward pass.
            return jax.lax.map(jax.checkpoint(one), steps, batch_size=_STEPS_AT_ONCE)

        if widths is None:
            return at_steps(steps)
        parts = map(at_steps, jnp.split(steps, len(widths)), widths)
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *parts)

    keys = None if dropout_key is None else jax.random.split(dropout_key, num_samples)
    key_axis = None if keys is None else 0
    terms, log_q_prefix = jax.vmap(along_order, (0, key_axis), 1)(perms, keys)  # [K, M]

    def over_steps(values):
        return jnp.sum(jnp.where(real, values, 0.0)) / jnp.sum(real)

    step_value = terms.slot + terms.token + terms.stop + terms.order_entropy
    objective = step_value + entropy_weight * terms.order_entropy
    surrogate = over_steps(jnp.mean(objective, axis=1))
    variance = jnp.zeros(())
    if learned:
        score = jax.vmap(estimators.leave_one_out)(log_q_prefix, objective)
        surrogate += over_steps(score)
        variance = over_steps(jnp.var(step_value, axis=1, ddof=1))
    slot, token, stop, entropy = (
        scale * over_steps(jnp.mean(term, axis=1)) for term in terms
    )
    info = SurrogateInfo(
        slot + token + stop + entropy, slot, token, stop, entropy, variance
    )
    return scale * surrogate, jax.lax.stop_gradient(info)


def elbo_surrogate(
    key: chex.PRNGKey,
    policy,
    order_logits: chex.Array,
    tokens: chex.Array,
    length: chex.Numeric,
    *,
    num_samples: int = 2,
    num_steps: int | None = 1,
    anchored: chex.Array | None = None,
    closed: chex.Array | None = None,
    eos_id: int | None = None,
    learned: bool = True,
    entropy_weight: chex.Numeric = 0.0,
    dropout_key: chex.PRNGKey | None = None,
    num_widths: int = 1,
    max_anchored: int | None = None,
) -> tuple[chex.Array, SurrogateInfo]:
    """Estimates the ELBO and its gradient from a few orders and some of their steps.

    Args:
      key: typed PRNG key.
      policy: `Canvas -> InsertionLogits` or a `TrajectoryPolicy`; with a
        `dropout_key`, the former is called as `policy(canvas, key)`.
      order_logits: float[L], logits of the Plackett-Luce posterior over orders.
      tokens: int[L], right-padded.
      length: int[].
      num_samples: M, orders drawn; the paper's 2 and at least 2 if `learned`.
      num_steps: K, steps at which the orders are evaluated, K x M canvases in all.
        One draw places them evenly, the k-th in the k-th part of {0..m}. None for
        every step, which a `TrajectoryPolicy` gets from one pass.
      anchored: bool[L], positions on the canvas from the start.
      closed: bool[L + 1], closed gaps.
      eos_id: the EOS token, for EOS termination; None for policy termination.
      learned: whether `order_logits` are trained; if not, there is no
        score-function term and M may be 1.
      entropy_weight: adds this multiple of the posterior's entropy to the
        objective (not to `info.elbo`).
      dropout_key: gives each pass a key of its own; without it the passes of one
        example share what randomness the policy holds.
      num_widths: G, a divisor of K: early steps have short canvases, so the k-th K / G
        of them are shown to a canvas policy `canvas_widths(L, G, max_anchored)[k]`
        wide. The same estimate for less work; G copies of the policy to compile.
      max_anchored: no example has more anchored positions, or its estimate is NaN;
        None without anchors.

    Returns:
      `(surrogate, info)`. `info.elbo` is an unbiased estimate of the ELBO in nats;
      the gradient of `surrogate`, in the parameters of `policy` and in
      `order_logits`, is an unbiased estimate of the gradient of
      ELBO + entropy_weight * entropy. The value of `surrogate` means nothing.

    Raises:
      ValueError: if the order is learned from fewer than two samples; if G does not
        divide K, or is not 1 where all steps are taken or the policy knows the order;
        if there are anchors and nobody said how many at most.

    Source: Zhang et al., arXiv 2606.02133, Equation 8 and the leave-one-out
      gradient that follows from it.
    """
    if learned and num_samples < 2:
        raise ValueError(
            f"A learned order needs num_samples of at least 2, got {num_samples}."
        )
    widths = None
    if num_widths > 1:
        if isinstance(policy, TrajectoryPolicy) or not num_steps:
            raise ValueError(
                "Canvases are cut to widths for a canvas policy at some steps; num_widths "
                f"is {num_widths}, but must be 1 for a trajectory policy and for all steps."
            )
        if num_steps % num_widths:
            raise ValueError(
                f"num_widths must divide num_steps, got {num_widths} and {num_steps}."
            )
        if anchored is not None and max_anchored is None:
            raise ValueError("num_widths needs max_anchored where there are anchors.")
        widths = canvas_widths(tokens.shape[0], num_widths, max_anchored or 0)
    to_insert = trajectories.missing_positions(tokens.shape[0], length, anchored)
    key_orders, key_step = jax.random.split(key)
    constant = jax.lax.stop_gradient(order_logits)
    perms = jax.vmap(permutations.plackett_luce, in_axes=(0, None, None))(
        jax.random.split(key_orders, num_samples), constant, to_insert
    )
    return surrogate_from_orders(
        policy,
        order_logits,
        tokens,
        length,
        perms,
        None
        if num_steps is None
        else _spread_steps(key_step, to_insert.sum() + 1, num_steps),
        anchored=anchored,
        closed=closed,
        eos_id=eos_id,
        learned=learned,
        entropy_weight=entropy_weight,
        dropout_key=dropout_key,
        widths=widths,
    )


def canvas_widths(size: int, num_widths: int, max_anchored: int = 0) -> tuple[int, ...]:
    """The most tokens on the canvases of evenly spread steps, by part.

    Args:
      size: L.
      num_widths: G.
      max_anchored: A, of any example.

    Returns:
      G widths, rising to L: with a <= A anchored and m <= L - a missing positions,
      the k-th of G parts of the steps 0..m ends before ceil((k + 1) (m + 1) / G).
    """
    max_anchored = min(max_anchored, size)
    return tuple(
        max_anchored + -(-(part + 1) * (size - max_anchored + 1) // num_widths) - 1
        for part in range(num_widths)
    )


def _spread_steps(key, count, num_steps):
    """int32[K], evenly spread over {0..count - 1} by one draw (systematic sampling).

    The k-th lies in the k-th of K parts; one of the K at random is uniform.
    """
    part = jnp.arange(num_steps)
    share = (jax.random.uniform(key) + part) / num_steps
    steps = jnp.floor(share * count).astype(jnp.int32)
    # Rounding can push a product up to the next part.
    return jnp.minimum(steps, -(-(part + 1) * count // num_steps) - 1)
