"""Attention among tokens whose distance depends on who looks.

When a token is inserted it looks at the canvas of that moment, on which every other
token has the place it has *then*; later insertions move tokens apart, but what was
computed stays. So positions are a matrix: `offset[q, k]` is how many places key k is
to the right of query q at the time of q. It enters the scores as

    query . (key + r[bucket(offset)]) + c[bucket(offset)]

with learned vectors r and scalars c a head (Shaw et al., arXiv 1803.02155, and Raffel
et al., arXiv 1910.10683). Near offsets have buckets of their own, far ones share.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from insertion_jax.networks.attention import attend, scaled_scores
from insertion_jax.networks.transformer import Branches

# Offsets up to this have a bucket each; then 8 buckets a side, each twice as wide as
# the one before, and all beyond 1,024 in the last.
_NEAR = 4
_BUCKETS_A_SIDE = _NEAR + 8
NUM_BUCKETS = 2 * _BUCKETS_A_SIDE + 1


def bucket(offset: jax.Array) -> jax.Array:
    """int[...], signed offsets -> int32[...] in 0..NUM_BUCKETS - 1; 0 in the middle."""
    distance = jnp.abs(offset)
    doublings = jnp.ceil(jnp.log2(jnp.maximum(distance, _NEAR) / _NEAR))
    far = _NEAR + doublings.astype(jnp.int32)
    side = jnp.minimum(jnp.where(distance <= _NEAR, distance, far), _BUCKETS_A_SIDE)
    return _BUCKETS_A_SIDE + jnp.sign(offset) * side


class RelativeBlock(Branches):
    """A block over rows that see a prompt, and other rows by their offsets."""

    def setup(self):
        super().setup()
        c = self.config
        init = nn.initializers.normal(0.02)
        shape = (c.num_heads, NUM_BUCKETS, c.width // c.num_heads)
        self.offset_key = self.param("offset_key", init, shape)
        self.offset_bias = self.param("offset_bias", nn.initializers.zeros, shape[:2])
        self.query = self.config.linear(c.width)
        self.key_value = self.config.linear(2 * c.width)
        self.prompt_key_value = self.config.linear(2 * c.width)

    def prompt(self, h):
        """Keys and values of an encoded prompt.

        Args:
          h: float[C, width].

        Returns:
          `(keys, values)`, float[heads, C, width / heads] each, without phases: rows
          have no place in the prompt.
        """
        return tuple(self.split(self.prompt_key_value(h), 2))

    def rows(self, x):
        """Keys and values of rows, as `prompt` gives them, from float[S, width]."""
        return tuple(self.split(self.key_value(self.attention_norm(x)), 2))

    def __call__(self, x, prompt, seen, visible, bucket_of, deterministic):
        """Runs T rows that see C prompt tokens and S rows.

        Args:
          x: float[T, width].
          prompt: from `prompt`.
          seen: from `rows`.
          visible: bool[T, C + S].
          bucket_of: float[T, S, NUM_BUCKETS], the one-hot bucket of each offset.
          deterministic: no dropout.

        Returns:
          float[T, width].
        """
        (query,) = self.split(self.query(self.attention_norm(x)), 1)
        by_bucket = scaled_scores(query, self.offset_key.astype(query.dtype))
        by_bucket += self.offset_bias[:, None]
        # A product with one-hot rows: its gradient is another product, where that of
        # a lookup is a slow scatter.
        by_offset = jnp.einsum("htp,tsp->hts", by_bucket, bucket_of)
        scores = jnp.concatenate(
            [
                scaled_scores(query, prompt[0]),
                scaled_scores(query, seen[0]) + by_offset,
            ],
            axis=-1,
        )
        values = jnp.concatenate([prompt[1], seen[1]], axis=1)
        attended = attend(scores, visible, values)
        return self.residuals(x, attended, deterministic)
