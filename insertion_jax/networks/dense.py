"""A linear map of rows whose gradients stay plain matrix products under `vmap`.

Networks here are written for one example and mapped over a batch. The gradient of a
weight is then a product contracted over two axes, example and row, for which XLA
transposes both activations first. Rows of all examples in one matrix need no such copy:
on CPUs a training step is clearly faster (docs/performance.md).
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def rows_dot(x: jax.Array, weight: jax.Array) -> jax.Array:
    """`x @ weight`, as one product of matrices however often it is mapped over x.

    Args:
      x: float[..., K].
      weight: float[K, N], of the same dtype.

    Returns:
      float[..., N].
    """
    rows = x.reshape(-1, x.shape[-1])
    return _dot.bind(rows, weight).reshape(*x.shape[:-1], weight.shape[-1])


def _rows_dot_general(x, weight, dimension_numbers, precision=None):
    """`rows_dot` as what `nn.Dense` calls."""
    expected = (((x.ndim - 1,), (0,)), ((), ()))
    if dimension_numbers != expected or precision is not None:
        raise NotImplementedError("Rows times a matrix at default precision alone.")
    return rows_dot(x, weight)


Dense = functools.partial(nn.Dense, dot_general=_rows_dot_general)


_dot = Primitive("rows_dot")
_dot.def_impl(jax.jit(lax.dot))
_dot.def_abstract_eval(lambda x, weight: x.update(shape=(x.shape[0], weight.shape[1])))
mlir.register_lowering(_dot, mlir.lower_fun(lax.dot, multiple_results=False))


def _map(arguments, axes):
    """Rows of all examples are rows; weights of an example each are a batch."""
    x, weight = arguments
    if axes[1] is not None:
        return jax.vmap(lax.dot, axes)(x, weight), 0
    return rows_dot(jnp.moveaxis(x, axes[0], 0), weight), 0


batching.primitive_batchers[_dot] = _map
ad.defbilinear(
    _dot,
    lambda cotangent, x, weight: rows_dot(cotangent, weight.T),
    # Contracted over the first axis of both: nothing has to be transposed.
    lambda cotangent, x, weight: lax.dot_general(
        x, cotangent, (((0,), (0,)), ((), ()))
    ),
)
