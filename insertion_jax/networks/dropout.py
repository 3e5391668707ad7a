"""Dropout that draws two masks from each random word: half the work of one word each."""

import flax.linen as nn
import jax
import jax.numpy as jnp

_LEVELS = 2**16


class Dropout(nn.Module):
    """Sets entries to 0 at random, and scales the others so that the mean stays.

    Attributes:
      rate: of entries, in [0, 1), to the nearest multiple of 2^-16.
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        """Drops entries of `x` by the rng "dropout", unless it is deterministic."""
        num_dropped = min(round(self.rate * _LEVELS), _LEVELS - 1)
        if deterministic or not num_dropped:
            return x
        words = jax.random.bits(
            self.make_rng("dropout"), (-(-x.size // 2),), jnp.uint32
        )
        halves = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)
        kept = halves[: x.size].reshape(x.shape) >= num_dropped
        return jnp.where(kept, x / (1 - num_dropped / _LEVELS), 0)
