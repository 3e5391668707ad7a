"""Flexible-length masked diffusion, for any denoiser: FlexMDM and LoFlexMDM.

Every token of the data comes as a mask at its insertion time and is revealed at its
unmasking time. A denoiser is trained to run that process forward: it reads what is
visible at a time and says what comes into each gap, how soon each mask is revealed,
and what it hides (FlexMDM, arXiv 2509.01025). LoFlexMDM (arXiv 2602.18695) learns
the laws of these times, rates read off the complete sequence, to make the process
easier to follow. With e_t the loss of `flex_loss` at time t and s the states,

    -log p(x) <= int_0^1 E_{s ~ q(. | x, t)} e_t(x, s) dt

The rates of the events are trained by the gradient of e_t, which holds them as
targets, and by a score-function term on the closed-form log q(s | x, t), with a
leave-one-out baseline over samples that share t.

A denoiser is any `(Canvas, time) -> MaskedRates`; event rates are any
`(time) -> (insert[L], unmask[L])`, positive and finite.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from insertion_jax.core import estimators, noising, trajectories
from insertion_jax.methods import flex_loss, flex_sampler
from insertion_jax.methods.flex_law import Law

sample = flex_sampler.sample

# Bounds the memory of a bound's many canvases.
_CANVASES_AT_ONCE = 32

# How far times stay away from 0 and 1: in training as published; in bounds so close
# that what is left out, in the last instant, does not show.
_TRAINING_MARGIN = 1e-4
_BOUND_MARGIN = 1e-5


class SurrogateInfo(NamedTuple):
    """Estimates that come with a surrogate. Nats per sequence, float[].

    Attributes:
      elbo: lower bound of the log-likelihood: minus the three parts, added.
      token: cross-entropy of the tokens behind masks.
      unmask: divergence of the rates of unmasking.
      insert: divergence of the rates of insertion.
      value_variance: variance of the loss between samples that share a time: what
        the score-function term has to live with; 0 if the rates are not learned.
    """

    elbo: chex.Array
    token: chex.Array
    unmask: chex.Array
    insert: chex.Array
    value_variance: chex.Array


def draw_times(
    key: chex.PRNGKey, num_times: int, exponent: float, margin: float
) -> tuple[chex.Array, chex.Array]:
    """Draws times between `margin` and `1 - margin`, evenly spread, with weights.

    Times are `t = 1 - s^exponent`, s uniform: an exponent of 1 is the uniform law.
    The loss near t = 1 is a sum of few, large terms, r(t) = 1 / (1 - t) each, of
    which 2 sees more and smaller ones.

    Args:
      key: typed PRNG key.
      num_times: K.
      exponent: at least 1.
      margin: above 0.

    Returns:
      `(t, weight)`, float32[K] each; `mean(weight * f(t))` has the integral of f
      between the margins as its expectation.
    """
    least, most = margin ** (1 / exponent), (1 - margin) ** (1 / exponent)
    v = (jnp.arange(num_times) + jax.random.uniform(key)) / num_times
    s = least + (most - least) * v
    return 1 - s**exponent, exponent * s ** (exponent - 1) * (most - least)


def surrogate_from_states(
    denoise,
    rates: tuple[chex.Array, chex.Array],
    tokens: chex.Array,
    length: chex.Numeric,
    times: chex.Array,
    weights: chex.Array,
    event_times: tuple[chex.Array, chex.Array],
    *,
    law: Law,
    mask_id: int,
    normalisation: str = "elbo",
    padded_length: int | None = None,
    anchored: chex.Array | None = None,
    closed: chex.Array | None = None,
    learned: bool = True,
    dropout_key: chex.PRNGKey | None = None,
) -> tuple[chex.Array, SurrogateInfo]:
    """The surrogate of `loss_surrogate` at given times and events.

    Args:
      denoise: `(Canvas, time) -> MaskedRates`; with a `dropout_key`,
        `(Canvas, time, key) -> MaskedRates`.
      rates: `(insert, unmask)`, float[K, L] each, the event rates at each time.
      tokens: int[L].
      length: int[].
      times: float[K].
      weights: float[K].
      event_times: `(insert_time, unmask_time)`, float[K, M, L] each; for each time,
        M independent draws from the law with its rates.
      law: of the event times.
      mask_id: the mask's token.
      normalisation: see `flex_loss.normalised`.
      padded_length: for it; L if None.
      anchored: bool[L], positions that are never dropped nor masked.
      closed: bool[L + 1], closed gaps.
      learned: whether the event rates are trained; if not, there is no
        score-function term and M may be 1.
      dropout_key: gives each of the K x M passes a key of its own.

    Returns:
      `(surrogate, info)`, see `loss_surrogate`.
    """
    size = tokens.shape[0]
    fixed = jnp.zeros(size, bool) if anchored is None else anchored
    padded_length = size if padded_length is None else padded_length

    def one(t, rates, insert_time, unmask_time, key):
        noised = noising.noise(
            tokens, fixed, length, insert_time, unmask_time, t, mask_id=mask_id
        )
        terms = flex_loss.loss_terms(
            denoise if key is None else lambda canvas, t: denoise(canvas, t, key),
            tokens,
            noised,
            t,
            *rates,
            law,
            closed=closed,
        )
        log_q = jnp.zeros(())
        if learned:
            log_q = noising.log_prob_of_states(law.state_log_probs(t, *rates), noised)
        return terms, log_q

    keys = None
    if dropout_key is not None:
        keys = jax.random.split(dropout_key, event_times[0].shape[:2])
    key_axis = None if keys is None else 0
    over_samples = jax.vmap(one, (None, None, 0, 0, key_axis))
    over_times = jax.vmap(over_samples, (0, 0, 0, 0, key_axis))
    terms, log_q = over_times(times, rates, *event_times, keys)  # [K, M]

    weights = weights[:, None]
    values = weights * flex_loss.normalised(terms, normalisation, padded_length)
    surrogate = jnp.mean(values)
    variance = jnp.zeros(())
    if learned:
        surrogate += jnp.mean(jax.vmap(estimators.leave_one_out)(log_q, values))
        variance = jnp.mean(jnp.var(values, axis=1, ddof=1))
    token, unmask, insert = (
        jnp.mean(weights * term) for term in (terms.token, terms.unmask, terms.insert)
    )
    info = SurrogateInfo(-(token + unmask + insert), token, unmask, insert, variance)
    return surrogate, jax.lax.stop_gradient(info)


def loss_surrogate(
    key: chex.PRNGKey,
    denoise,
    event_rates,
    tokens: chex.Array,
    length: chex.Numeric,
    *,
    law: Law,
    mask_id: int,
    num_samples: int = 2,
    num_times: int = 1,
    time_exponent: float = 2.0,
    normalisation: str = "elbo",
    padded_length: int | None = None,
    anchored: chex.Array | None = None,
    closed: chex.Array | None = None,
    learned: bool = True,
    dropout_key: chex.PRNGKey | None = None,
) -> tuple[chex.Array, SurrogateInfo]:
    """Estimates the loss and its gradient from a few canvases.

    Args:
      key: typed PRNG key.
      denoise: `(Canvas, time) -> MaskedRates`; with a `dropout_key`,
        `(Canvas, time, key) -> MaskedRates`.
      event_rates: `(time) -> (insert[L], unmask[L])`, rates of the events; the bound
        holds where they do not depend on the time.
      tokens: int[L], right-padded.
      length: int[].
      law: of the event times.
      mask_id: the mask's token.
      num_samples: M, noised sequences at each time; the paper's 2 and at least 2 if
        `learned`.
      num_times: K, evenly spread; K x M canvases in all.
      time_exponent: see `draw_times`; 1 is the published uniform law.
      normalisation: see `flex_loss.normalised`.
      padded_length: for it; L if None.
      anchored: bool[L], positions that are never dropped nor masked.
      closed: bool[L + 1], closed gaps.
      learned: whether the event rates are trained; if not, there is no
        score-function term and M may be 1.
      dropout_key: gives each pass a key of its own; without it the passes of one
        example share what randomness the denoiser holds.

    Returns:
      `(surrogate, info)`. The gradient of `surrogate`, in the parameters of `denoise`
      and `event_rates`, is an unbiased estimate of the gradient of the expected
      normalised loss; its value means nothing. `info.elbo` estimates the bound
      whatever the normalisation.

    Raises:
      ValueError: if the rates are learned from fewer than two samples.

    Source: Patel et al., arXiv 2602.18695.
    """
    if learned and num_samples < 2:
        raise ValueError(
            f"Learned event rates need num_samples of at least 2, got {num_samples}."
        )
    key_times, key_events = jax.random.split(key)
    times, weights = draw_times(key_times, num_times, time_exponent, _TRAINING_MARGIN)
    free = trajectories.missing_positions(tokens.shape[0], length, anchored)
    # Where nothing happens a rate may be anything, and must do no harm.
    rates = jax.tree.map(
        lambda b: jnp.where(free, b, 1.0), jax.vmap(event_rates)(times)
    )
    keys = jax.random.split(key_events, (num_times, num_samples))
    over_samples = jax.vmap(law.draw, (0, None, None))
    events = jax.vmap(over_samples)(keys, *jax.lax.stop_gradient(rates))
    return surrogate_from_states(
        denoise,
        rates,
        tokens,
        length,
        times,
        weights,
        events,
        law=law,
        mask_id=mask_id,
        normalisation=normalisation,
        padded_length=padded_length,
        anchored=anchored,
        closed=closed,
        learned=learned,
        dropout_key=dropout_key,
    )


def elbo(
    key: chex.PRNGKey,
    denoise,
    event_rates,
    tokens: chex.Array,
    length: chex.Numeric,
    *,
    law: Law,
    mask_id: int,
    num_times: int,
    anchored: chex.Array | None = None,
    closed: chex.Array | None = None,
) -> chex.Array:
    """Monte-Carlo estimate of the lower bound of the log-likelihood.

    Args:
      key: typed PRNG key.
      denoise: `(Canvas, time) -> MaskedRates`; runs on K canvases, 32 at once.
      event_rates: `(time) -> (insert[L], unmask[L])`.
      tokens: int[L].
      length: int[].
      law: of the event times.
      mask_id: the mask's token.
      num_times: K, evenly spread, one noised sequence each.
      anchored: bool[L].
      closed: bool[L + 1], closed gaps.

    Returns:
      float[], in nats per sequence. The first and the last 1e-5 of the time are left
      out. That is less than such an estimate can tell, unless rates far below 1 leave
      events to the one, or a shape a below 1/2 gives events to the other; then the
      estimate is too good.
    """
    size = tokens.shape[0]
    fixed = jnp.zeros(size, bool) if anchored is None else anchored
    key_times, key_events = jax.random.split(key)
    times, weights = draw_times(key_times, num_times, 2.0, _BOUND_MARGIN)

    def loss_at(number):
        t = times[number]
        rates = event_rates(t)
        events = law.draw(jax.random.fold_in(key_events, number), *rates)
        noised = noising.noise(tokens, fixed, length, *events, t, mask_id=mask_id)
        terms = flex_loss.loss_terms(
            denoise, tokens, noised, t, *rates, law, closed=closed
        )
        return weights[number] * flex_loss.normalised(terms, "elbo", size)

    # Not a map over keys: under `vmap` the key-reuse check of jax mistakes that for
    # a reuse.
    losses = jax.lax.map(loss_at, jnp.arange(num_times), batch_size=_CANVASES_AT_ONCE)
    return -jnp.mean(losses)
