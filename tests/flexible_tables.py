"""Denoisers without networks: closed forms, and one for canvases of any kind."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from insertion_jax.core import event_times, noising
from insertion_jax.core.leaps import MaskedRates
from insertion_jax.methods import flex_loss


def hashed(size, vocab, *, scale=1.0, seed=0):
    """Arbitrary rates and logits that depend on the whole canvas and the time."""
    weights = np.random.default_rng(seed).normal(size=size)

    def denoise(canvas, time):
        place = jnp.arange(size)
        inside = place < canvas.length
        phase = jnp.sum(jnp.where(inside, (canvas.tokens + 1) * weights, 0.0)) + time
        token = 2 * jnp.sin(
            phase + place[:, None] * 1.7 + jnp.arange(vocab)[None, :] * 2.3
        )
        return MaskedRates(
            token=token,
            insert=scale * (1.1 + jnp.sin(phase + jnp.arange(size + 1))),
            unmask=1.5 + jnp.sin(phase + 0.5 * place),
        )

    return denoise


def one_symbol(q):
    """The best denoiser for data that is "A" with probability q, else empty."""

    def denoise(canvas, time):
        empty = canvas.length == 0
        insert = jnp.where(empty, q * (1 - time) / (1 - q * time), 0.0)
        return MaskedRates(
            token=jnp.zeros((1, 1)),
            insert=insert * jnp.array([1.0, 0.0]),
            unmask=jnp.ones(1),
        )

    return denoise


# The data is always "AB"; A, B and the mask:
A, B, MASK = range(3)


def best_for_ab(insert_rates):
    """The best denoiser for "AB" if A and B have these rates, and b_unmask = a = 1."""

    def denoise(canvas, time):
        first, second = insert_rates
        absent, mask, _ = event_times.state_log_probs(time, 1.0, insert_rates, 1.0)
        is_first = jax.nn.sigmoid(mask[0] + absent[1] - mask[1] - absent[0])
        empty, single = canvas.length == 0, canvas.length == 1
        token = canvas.tokens[0]
        hides_first = jnp.where(token == MASK, is_first, token == A)
        before = jnp.where(empty, first + second, (1 - hides_first) * first)
        after = hides_first * second
        insert = jnp.stack([jnp.where(single | empty, before, 0.0), after, 0.0])
        insert = jnp.where(single, insert, insert * jnp.array([1.0, 0.0, 0.0]))
        probs = jnp.stack([hides_first, 1 - hides_first])
        pair = jnp.where(single, jnp.stack([probs, probs]), jnp.eye(2))
        return MaskedRates(jnp.log(jnp.maximum(pair, 1e-30)), insert, jnp.ones(2))

    return denoise


class Table(NamedTuple):
    """A denoiser of "AB" with parameters: by canvas, linear in the time.

    Attributes:
      insert: float[13, 3, 2], logarithms of the rates.
      token: float[13, 2, 2, 2], logits.
    """

    insert: jnp.ndarray
    token: jnp.ndarray

    @classmethod
    def zeros(cls):
        return cls(jnp.zeros((13, 3, 2)), jnp.zeros((13, 2, 2, 2)))

    def __call__(self, canvas, time):
        digits = jnp.where(jnp.arange(2) < canvas.length, 1 + canvas.tokens, 0)
        # Canvases of 0, 1 and 2 tokens.
        number = jnp.sum(digits * jnp.array([1, 3])) * (canvas.length > 0)
        powers = jnp.stack([1.0, time])
        return MaskedRates(
            token=self.token[number] @ powers,
            insert=jnp.exp(self.insert[number] @ powers),
            unmask=jnp.ones(2),
        )


def expected_at(value_of, t, rates, law, tokens, mask_id):
    """Exact expectation, over the states of a sequence at a time, of a value.

    Args:
      value_of: `(noised) -> float[]`.
      t: float[], in (0, 1).
      rates: `(insert[L], unmask[L])`.
      law: of the event times.
      tokens: int[L], all free.
      mask_id: the mask.
    """
    size = tokens.shape[0]
    log_probs = law.state_log_probs(t, *rates)

    def one(insert_time, unmask_time):
        noised = noising.noise(
            tokens,
            jnp.zeros(size, bool),
            size,
            insert_time,
            unmask_time,
            t,
            mask_id=mask_id,
        )
        return jnp.exp(noising.log_prob_of_states(log_probs, noised)) * value_of(noised)

    return jnp.sum(jax.vmap(one)(*times_of(all_states(size))))


def all_states(size):
    """int[3^L, L], every combination of absent, mask and clean."""
    return (np.arange(3**size)[:, None] // 3 ** np.arange(size)) % 3


def times_of(states):
    """Times of insertion and unmasking that put tokens into these states at t < 1."""
    return (
        jnp.where(states == noising.DROPPED, 2.0, 0.0),
        jnp.where(states == noising.CLEAN, 0.0, 2.0),
    )


def exact_bound(denoise, rates, law, tokens, mask_id):
    """The bound of -log p by quadrature over time and enumeration of states."""
    nodes, weights = np.polynomial.legendre.leggauss(120)
    s, weights = (nodes + 1) / 2, weights / 2
    times, weights = 1 - s**3, weights * 3 * s**2

    def loss_at(t):
        def loss_of(noised):
            terms = flex_loss.loss_terms(denoise, tokens, noised, t, *rates, law)
            return flex_loss.normalised(terms, "elbo", tokens.shape[0])

        return expected_at(loss_of, t, rates, law, tokens, mask_id)

    return jnp.sum(weights * jax.vmap(loss_at)(jnp.asarray(times)))
