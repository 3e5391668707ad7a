"""Layer norm without bias, whose gradient is as fast as its value.

The gradient of `x * scale[..., None]` sums over the last axis. As the transpose of a
broadcast that sum keeps all axes it is mapped over, and the more there are the slower is
the CPU compiler's code; as the transpose of a product it is one over a matrix of rows
(docs/performance.md).
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

_EPSILON = 1e-6
# Float32 on accelerators, too.
_einsum = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


class LayerNorm(nn.Module):
    """Divides by the standard deviation over the last axis, after taking off the mean.

    Attributes:
      dtype: of the result; statistics are in float32.

    Source: Ba et al., arXiv 1607.06450.
    """

    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float[..., width] -> the same."""
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:], jnp.float32)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = _einsum("...d,...d->...", centred, centred) / x.shape[-1]
        normed = _einsum("...d,...->...d", centred, jax.lax.rsqrt(variance + _EPSILON))
        return (normed * scale).astype(self.dtype)
