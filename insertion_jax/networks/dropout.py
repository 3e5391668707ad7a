"""Dropout whose masks are hashes of a key and of each entry's place.

Masks need no generator fit for sampling: on CPUs the default one took a seventh of a
training step, for each of its words passes through memory twenty times.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp


class Dropout(nn.Module):
    """Sets entries to 0 at random, and scales the others so that the mean stays.

    Attributes:
      rate: of entries, in [0, 1), to the nearest multiple of 2^-32.
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        """Drops entries of `x` by the rng "dropout", unless it is deterministic."""
        if deterministic or not self.rate:
            return x
        words = hashed_bits(self.make_rng("dropout"), x.shape)
        kept = words >= jnp.uint32(min(round(self.rate * 2**32), 2**32 - 1))
        return jnp.where(kept, x / (1 - self.rate), 0)


def hashed_bits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Words that look random, each computed from its place in a few instructions.

    Args:
      key: of `jax.random`.
      shape: of less than 2^32 entries.

    Returns:
      uint32[shape], the i-th entry (row by row) `mix(mix(mix(i + a) + b))` with two words
      a, b of the key and a mixer of 32-bit words (C. Wellons' "lowbias32"). For masks, not
      for sampling: keys with the same b have the same stream, moved on.
    """
    return _hashed(jax.random.bits(key, (2,), jnp.uint32), shape)


def _hashed(seeds, shape):
    place, stride = jnp.zeros(shape, jnp.uint32), 1
    for axis in reversed(range(len(shape))):
        along = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
        place, stride = place + along * jnp.uint32(stride), stride * shape[axis]
    return _mix(_mix(_mix(place + seeds[0]) + seeds[1]))


def _mix(word):
    """A bijection of 32-bit words; once, it leaves some pairs of inputs correlated."""
    word = (word ^ (word >> 16)) * jnp.uint32(0x7FEB352D)
    word = (word ^ (word >> 15)) * jnp.uint32(0x846CA68B)
    return word ^ (word >> 16)
