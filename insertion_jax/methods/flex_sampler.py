"""Sampling from flexible-length masked diffusion by tau-leaping.

Time runs from 0 to 1 in N equal leaps. In a leap from t to t + dt the denoiser looks
once at the canvas x_t; then, independently of each other,

    masks come into gap k:       Poisson( b_insert[k] (H_in(t + dt) - H_in(t)) )
    mask i is revealed if:       Exp(1) < b_unmask[i] (H_um(t + dt) - H_um(t))

with H the integrals of the base hazards, which leaves only the rates b frozen within
a leap. In the last leap, where H is infinite, no mask comes and all are revealed.

The published samplers take `hazard(t) dt` for the integrals, draw a Poisson number
of reveals for each token of the vocabulary (of which only "any" matters), and drop
all masks of a leap that would not fit; here the leftmost are kept. With a confidence
the *number* of reveals of a leap is drawn as above, and the most confident masks are
taken (FlexMDM, arXiv 2509.01025, and LoFlexMDM, arXiv 2602.18695).
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from insertion_jax.core import categorical, leaps, trajectories
from insertion_jax.types import Canvas, Trace

CONFIDENCES = ("none", "top_prob", "prob_diff", "entropy")

_ANCHORED = -1  # the leap in which anchored tokens came


class EventTimes(NamedTuple):
    """When each token of a sample came, as the end of its leap, in (0, 1].

    Attributes:
      insert: float32[L], 0 at anchored tokens and padding.
      reveal: float32[L], the same; 1 at tokens filled in by the last leap.
    """

    insert: chex.Array
    reveal: chex.Array


class _State(NamedTuple):
    canvas: Canvas
    inserted: chex.Array  # int32[L], the leap
    revealed: chex.Array  # int32[L]
    overflowed: chex.Array  # bool[]


def sample(
    key: chex.PRNGKey,
    denoise,
    canvas: Canvas,
    *,
    mask_id: int,
    num_steps: int,
    insert_clock: Callable[[chex.Numeric], chex.Array],
    unmask_clock: Callable[[chex.Numeric], chex.Array],
    max_length: int,
    time_exponent: float = 2.0,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    greedy: bool = False,
    confidence: str = "none",
    count_without_hazard: bool = False,
    closed: chex.Array | None = None,
) -> tuple[Canvas, Trace, EventTimes]:
    """Draws a sequence in N leaps.

    Args:
      key: typed PRNG key.
      denoise: `(Canvas, time) -> MaskedRates`.
      canvas: what stands at the start; empty, or the anchored tokens.
      mask_id: the mask's token.
      num_steps: N, at least 2, static.
      insert_clock: `(time) -> H_in`, the integrated base hazard of insertion.
      unmask_clock: `(time) -> H_um`, that of unmasking.
      max_length: the canvas is full at this length; at most L.
      time_exponent: leap k ends at time 1 - (1 - k / N)^this, static. 1 is the
        published even grid, on which a token of rate 1 misses the last leap with
        insertions with probability 1 / N: the exact denoiser of sequences of 8 tokens
        writes 3 % of them too short in 256 leaps. With 2 it is 1 / N^2.
      temperature: > 0, static, of the tokens.
      top_p: nucleus of the tokens, in (0, 1], static.
      top_k: only the k most probable tokens, static; 0 for all.
      greedy: static; take the most probable token. When and where tokens come stays
        random.
      confidence: which masks a leap reveals: "none", those whose event came; or, of
        the same number, those with the largest "top_prob" (probability of the best
        token), "prob_diff" (its lead over the second) or the least "entropy".
      count_without_hazard: with a confidence, draw that number as
        Poisson(number of masks times the leap's length), as FlexMDM's published code
        does, which leaves most tokens to the last leap.
      closed: bool[L + 1], closed gaps.

    Returns:
      `(canvas, trace, times)`. Tokens of one leap are listed from left to right in
      the trace; `trace.stopped` is false where masks did not fit.

    Raises:
      ValueError: for an argument out of range.
    """
    size = canvas.tokens.shape[0]
    if max_length > size:
        raise ValueError(
            f"max_length {max_length} is larger than the canvas of {size} tokens."
        )
    if num_steps < 2:
        raise ValueError(f"num_steps must be at least 2, got {num_steps}.")
    if confidence not in CONFIDENCES:
        raise ValueError(
            f"confidence must be one of {CONFIDENCES}, got {confidence!r}."
        )
    place = jnp.arange(size)

    def time_of(leap):
        return 1 - (1 - leap / num_steps) ** time_exponent

    def draw(key, logits):
        log_probs = jax.nn.log_softmax(categorical.widen(logits))
        if 0 < top_k < log_probs.shape[0]:
            least = jax.lax.top_k(log_probs, top_k)[0][-1]
            kept = jnp.where(log_probs >= least, log_probs, categorical.IMPOSSIBLE)
            log_probs = jax.nn.log_softmax(kept)
        return categorical.draw(
            key, log_probs, temperature=temperature, top_p=top_p, greedy=greedy
        )

    def masks_of(canvas):
        return (place < canvas.length) & (canvas.tokens == mask_id)

    def write(key, state, rates, which, step):
        keys = jax.random.split(key, size)
        tokens = jax.vmap(draw)(keys, rates.token).astype(state.canvas.tokens.dtype)
        tokens = jnp.where(which, tokens, state.canvas.tokens)
        return state._replace(
            canvas=state.canvas._replace(tokens=tokens),
            revealed=jnp.where(which, step, state.revealed),
        )

    def leap(step, state):
        key_reveal, key_token, key_insert = jax.random.split(
            jax.random.fold_in(key, step), 3
        )
        start, end = time_of(step), time_of(step + 1)
        rates = denoise(state.canvas, start)
        wait = unmask_clock(end) - unmask_clock(start)
        masks = masks_of(state.canvas)
        if confidence != "none" and count_without_hazard:
            number = _poisson(key_reveal, masks.sum() * (end - start), size)
        else:
            patience = jax.random.exponential(key_reveal, (size,))
            which = masks & (patience < rates.unmask * wait)
            number = which.sum()
        if confidence != "none":
            which = _best(_scores(rates.token, confidence), masks, number)

        mean = rates.insert * (insert_clock(end) - insert_clock(start))
        is_open = trajectories.open_slots(state.canvas, closed)
        # Counts beyond L fit nowhere; L + 1 is one too many in any case.
        counts = _poisson(key_insert, jnp.where(is_open, mean, 0.0), size + 1)
        fitting = leaps.fit(counts, jnp.maximum(max_length - state.canvas.length, 0))

        state = write(key_token, state, rates, which, step)
        canvas, source = leaps.insert_masks(state.canvas, fitting, mask_id)
        old = source >= 0
        return _State(
            canvas,
            inserted=jnp.where(old, state.inserted[source], step),
            revealed=jnp.where(old, state.revealed[source], step),
            overflowed=state.overflowed | (fitting.sum() < counts.sum()),
        )

    never = jnp.full(size, _ANCHORED, jnp.int32)
    state = _State(canvas, never, never, jnp.asarray(False))
    last = num_steps - 1
    state = jax.lax.fori_loop(0, last, leap, state)
    rates = denoise(state.canvas, time_of(last))
    key_last = jax.random.fold_in(key, last)
    state = write(key_last, state, rates, masks_of(state.canvas), last)

    inside = place < state.canvas.length
    to_times = lambda leap: jnp.where(inside, time_of(leap + 1), 0.0)
    times = EventTimes(to_times(state.inserted), to_times(state.revealed))
    return state.canvas, _trace(state), times


def _poisson(key, mean, most):
    """int32[...], Poisson numbers with these means, or `most` where they are larger.

    Counts the arrivals of a process of rate 1: much faster to compile than
    `jax.random.poisson`, which also needs a threefry key.
    """
    waits = jax.random.exponential(key, (*jnp.shape(mean), most))
    arrivals = jnp.cumsum(waits, axis=-1)
    return jnp.sum(arrivals < mean[..., None], axis=-1, dtype=jnp.int32)


def _scores(logits, confidence):
    """float[L], how sure the denoiser is of each mask's token."""
    log_probs = jax.nn.log_softmax(categorical.widen(logits))
    probs = jnp.exp(log_probs)
    if confidence == "entropy":
        return jnp.sum(probs * log_probs, axis=1)
    best = jax.lax.top_k(probs, min(2, probs.shape[1]))[0]
    return best[:, 0] if confidence == "top_prob" else best[:, 0] - best[:, -1]


def _best(scores, masks, number):
    """bool[L], the masks with the largest scores; of equal ones the leftmost."""
    order = jnp.argsort(jnp.where(masks, -scores, jnp.inf), stable=True)
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(order.shape[0]))
    return masks & (rank < number)


def _trace(state):
    """The insertions in their order, by leap and from left to right."""
    canvas, inserted = state.canvas, state.inserted
    step = jnp.arange(inserted.shape[0])
    inside = step < canvas.length
    # Anchored tokens count as inserted before all others, from left to right.
    leap = jnp.where(inside, inserted, jnp.iinfo(jnp.int32).max)
    perm = jnp.argsort(leap, stable=True).astype(jnp.int32)
    num_anchored = jnp.sum(inside & (inserted == _ANCHORED))
    num_steps = (canvas.length - num_anchored).astype(jnp.int32)

    def listed(values):
        values = jnp.roll(values, -num_anchored).astype(jnp.int32)
        return jnp.where(step < num_steps, values, -1)

    return Trace(
        slot=listed(trajectories.slots_from_permutation(perm)),
        token=listed(canvas.tokens[perm]),
        num_steps=num_steps,
        stopped=~state.overflowed,
    )
