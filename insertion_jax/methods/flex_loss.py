"""The loss of one noised sequence, in parts.

A mask at place k hides token z of the data, whose rate of unmasking is b_um; a gap
holds absent tokens, the sum of whose rates of insertion is B. The denoiser says
K(. | x_t, t), b'_um and b'_in. Hazards are rates times a base hazard r(t), and the
loss is the rate, in nats per unit of time, at which the two processes diverge:

    token   r_um(t) sum_masks b_um (-log K(z))
    unmask  r_um(t) sum_masks D(b_um, b'_um)
    insert  r_in(t) sum_gaps  D(B, b'_in)

with D the divergence of Poisson laws. Integrated over time and averaged over event
times, their sum bounds -log p(x) from above (projected discrete flow matching,
LoFlexMDM, arXiv 2602.18695; FlexMDM, arXiv 2509.01025, is the case b = 1 without the
second part, which is zero).
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from insertion_jax.core import categorical, estimators, noising, trajectories
from insertion_jax.methods.flex_law import Law
from insertion_jax.types import Canvas

NORMALISATIONS = ("elbo", "paper", "flexmdm")


class LossTerms(NamedTuple):
    """Parts of the loss at one time, float[], in nats per unit of time.

    Attributes:
      token: cross-entropy of the masked tokens.
      unmask: divergence of the rates of unmasking.
      insert: divergence of the rates of insertion.
      num_masks: int[].
    """

    token: chex.Array
    unmask: chex.Array
    insert: chex.Array
    num_masks: chex.Array


def loss_terms(
    denoise,
    tokens: chex.Array,
    noised: noising.Noised,
    t: chex.Numeric,
    insert_rates: chex.Array,
    unmask_rates: chex.Array,
    law: Law,
    *,
    closed: chex.Array | None = None,
) -> LossTerms:
    """Compares a denoiser with the process that made a noised sequence.

    Args:
      denoise: `(Canvas, time) -> MaskedRates`.
      tokens: int[L], the complete sequence.
      noised: the sequence at time t.
      t: float[].
      insert_rates: float[L], of insertion, by position in the complete sequence.
      unmask_rates: float[L], of unmasking.
      law: gives the base hazards.
      closed: bool[L + 1], closed gaps, which neither the process nor the sampler
        uses: they do not count.

    Returns:
      `LossTerms`, with gradients in the parameters of `denoise` and in both rates.
    """
    canvas = Canvas(noised.tokens, noised.length, noised.anchored)
    rates = denoise(canvas, t)
    masked = noised.masked
    log_probs = jax.nn.log_softmax(categorical.widen(rates.token))
    hidden = jnp.where(masked, jnp.asarray(tokens)[noised.source], 0)
    log_prob = jnp.take_along_axis(log_probs, hidden[:, None], axis=1)[:, 0]
    target = categorical.widen(unmask_rates)[noised.source]

    def over_masks(values):
        return law.unmask_hazard(t) * jnp.sum(jnp.where(masked, values, 0.0))

    is_open = trajectories.open_slots(canvas, closed)
    by_gap = noising.gap_sums(insert_rates, noised)
    divergence = estimators.poisson_divergence(by_gap, rates.insert)
    return LossTerms(
        token=over_masks(target * -jnp.where(masked, log_prob, 0.0)),
        unmask=over_masks(estimators.poisson_divergence(target, rates.unmask)),
        insert=law.insert_hazard(t) * jnp.sum(jnp.where(is_open, divergence, 0.0)),
        num_masks=jnp.sum(masked),
    )


def normalised(terms: LossTerms, normalisation: str, padded_length: int) -> chex.Array:
    """Adds the parts up.

    Args:
      terms: of one noised sequence, or arrays of them.
      normalisation: "elbo", the bound itself; "paper", LoFlexMDM's: the mean over
        masks of the first two parts, plus the third over the padded length;
        "flexmdm", FlexMDM's: the bound over the padded length.
      padded_length: entries of the padded prompt and target together.

    Returns:
      float, of the terms' shape.

    Raises:
      ValueError: for another normalisation.
    """
    reveal = terms.token + terms.unmask
    if normalisation == "elbo":
        return reveal + terms.insert
    if normalisation == "paper":
        return reveal / jnp.maximum(terms.num_masks, 1) + terms.insert / padded_length
    if normalisation == "flexmdm":
        return (reveal + terms.insert) / padded_length
    raise ValueError(
        f"normalisation must be one of {NORMALISATIONS}, got {normalisation!r}."
    )
