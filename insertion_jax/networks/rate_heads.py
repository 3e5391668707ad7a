"""Heads that give positive rates, and the embedding of time. All in float32.

The four functions from a score to a rate, and the start near rate 2, are those of
LoFlexMDM (Patel et al., arXiv 2602.18695).
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from insertion_jax.networks.dense import Dense
from insertion_jax.types import InputError

FUNCTIONS = ("softplus", "sigmoid", "exp", "discretised")

# Without it a rate in [0, 100] would start at 50 or more; with it, at about 2.
_START = -4.0
_NUM_BINS = 1000
# exp of more overflows once it is multiplied by a hazard.
_LARGEST_SCORE = 30.0

_NUM_FREQUENCIES = 16
_FASTEST = 64.0  # radians over the unit of time


@dataclasses.dataclass(frozen=True)
class RateConfig:
    """From a head's score s to a rate.

    Attributes:
      function: "softplus", `low + (high - low) * softplus(s - 4)`, which `high` does
        not bound; "sigmoid", the same with a sigmoid; "exp", `low + exp(s)`; or
        "discretised", the mean of a softmax over 1000 even steps from low to high.
      low: the smallest rate, at least 0.
      high: see `function`; not read by "exp".
    """

    function: str = "softplus"
    low: float = 0.0
    high: float = 100.0

    def __post_init__(self):
        if self.function not in FUNCTIONS:
            raise InputError(
                f"The rates' function is {self.function!r}; allowed are "
                f"{', '.join(FUNCTIONS)}."
            )
        if not 0.0 <= self.low < self.high:
            raise InputError(
                f"Rates from {self.low} to {self.high}: the smallest must be at least "
                "0 and below the largest."
            )


class RateHead(nn.Module):
    """One rate for each row."""

    config: RateConfig

    @nn.compact
    def __call__(self, h: jax.Array, time: jax.Array | None = None) -> jax.Array:
        """Reads float[T, width] and an embedding of time, float[width] -> float32[T]."""
        c = self.config
        h = h.astype(jnp.float32)
        hidden = Dense(h.shape[-1], name="hidden")(h)
        if time is not None:
            hidden += Dense(h.shape[-1], use_bias=False, name="time")(time)
        hidden = nn.silu(hidden)
        if c.function == "discretised":
            bins = jnp.linspace(c.low, c.high, _NUM_BINS)
            return jax.nn.softmax(Dense(_NUM_BINS, name="score")(hidden)) @ bins
        score = Dense(1, name="score")(hidden)[:, 0]
        if c.function == "exp":
            return c.low + jnp.exp(jnp.minimum(score, _LARGEST_SCORE))
        bounded = {"softplus": jax.nn.softplus, "sigmoid": jax.nn.sigmoid}[c.function]
        return c.low + (c.high - c.low) * bounded(score + _START)


class TimeEmbedding(nn.Module):
    """Embeds a time in [0, 1]: sines and cosines of 16 frequencies, then an MLP."""

    width: int

    @nn.compact
    def __call__(self, time: jax.Array) -> jax.Array:
        """float[] -> float32[width]."""
        frequency = jnp.geomspace(1.0, _FASTEST, _NUM_FREQUENCIES)
        angle = jnp.asarray(time, jnp.float32) * frequency
        h = jnp.concatenate([jnp.cos(angle), jnp.sin(angle)])
        h = nn.silu(Dense(self.width, name="hidden")(h))
        return Dense(self.width, name="out")(h)
