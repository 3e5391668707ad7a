"""A linear map of rows whose gradients stay plain matrix products under `vmap`.

Networks here are written for one example and mapped over a batch. The gradient of a
weight is then a product contracted over two axes, example and row, for which XLA
transposes both activations first. Rows of all examples in one matrix need no such copy:
on CPUs a training step is clearly faster (docs/performance.md).

The factors may be rounded to bfloat16, with sums and results in float32 ("mixed"):
what TPUs do by default, and several times faster on CPUs with units for it.

An axis that is sharded over devices has to be the outermost one that is mapped, as a
batch is; merged behind another one it would be gathered. Meshes of explicit axes are not
supported.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def rows_dot(x: jax.Array, weight: jax.Array, factors: str | None = None) -> jax.Array:
    """`x @ weight`, as one product of matrices however often it is mapped over x.

    Args:
      x: float[..., K].
      weight: float[K, N], of the same dtype.
      factors: dtype to which all factors are rounded, those of both gradients too; None
        for none. In second derivatives, and where `weight` itself is mapped, the
        gradients are rounded as well.

    Returns:
      float[..., N], of the dtype of `x`, in which sums are taken.

    Raises:
      TypeError: shapes or dtypes do not fit.
    """
    if weight.ndim != 2 or x.shape[-1] != weight.shape[0] or x.dtype != weight.dtype:
        raise TypeError(
            f"{x.dtype}{list(x.shape)} cannot be multiplied with rows of "
            f"{weight.dtype}{list(weight.shape)}."
        )
    # Rounded factors leave nothing to choose.
    precision = (
        lax.Precision.DEFAULT if factors else jax.config.jax_default_matmul_precision
    )
    return _bind(x, weight, axis=0, precision=precision, factors=factors)


def _rows_dot_general(x, weight, dimension_numbers, precision=None, *, factors):
    """`rows_dot` as what `nn.Dense` calls."""
    expected = (((x.ndim - 1,), (0,)), ((), ()))
    if dimension_numbers != expected or precision is not None:
        raise NotImplementedError("Rows times a matrix at default precision alone.")
    return rows_dot(x, weight, factors)


# Modules are equal where their fields are, and a partial is equal to itself alone.
_PRODUCTS = {
    factors: functools.partial(_rows_dot_general, factors=factors)
    for factors in (None, "bfloat16")
}


def Dense(features: int, *, factors: str | None = None, **options) -> nn.Dense:
    """`nn.Dense` with the product of `rows_dot`; written as the module that it makes."""
    return nn.Dense(features, dot_general=_PRODUCTS[factors], **options)


_dot = Primitive("rows_dot")


def _bind(x, weight, *, axis, **how):
    """Contracts the last axis of x with the given one of the weight."""
    # Under shard_map, what differs between devices meets what does not.
    varying = [jax.typeof(each).manual_axis_type.varying for each in (x, weight)]
    if missing := tuple(varying[1] - varying[0]):
        x = lax.pcast(x, missing, to="varying")
    if missing := tuple(varying[0] - varying[1]):
        weight = lax.pcast(weight, missing, to="varying")
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    out = _dot.bind(rows, weight, axis=axis, **how)
    return out.reshape(*x.shape[:-1], out.shape[-1])


def _plain(x, weight, *, axis, precision, factors):
    return _contract(x, weight, 1, axis, precision, factors)


def _contract(x, y, axis_of_x, axis_of_y, precision, factors):
    """The product of two matrices; sums are in the dtype of y."""
    dimensions = (((axis_of_x,), (axis_of_y,)), ((), ()))
    if factors is None:
        return lax.dot_general(x, y, dimensions, precision=precision)
    rounded = x.astype(factors), y.astype(factors)
    return lax.dot_general(
        *rounded, dimensions, precision=precision, preferred_element_type=y.dtype
    )


def _shape(x, weight, *, axis, precision, factors):
    del precision, factors
    return x.update(
        shape=(x.shape[0], weight.shape[1 - axis]),
        weak_type=x.weak_type and weight.weak_type,
    )


def _map(arguments, axes, *, axis, **how):
    """Rows of all examples are rows; weights of an example each are a batch."""
    x, weight = arguments
    if axes[1] is not None:
        plain = functools.partial(_plain, axis=axis, **how)
        return jax.vmap(plain, axes)(x, weight), 0
    return _bind(jnp.moveaxis(x, axes[0], 0), weight, axis=axis, **how), 0


def _gradient_of_x(cotangent, x, weight, *, axis, **how):
    del x
    return _bind(cotangent, weight, axis=1 - axis, **how)


def _gradient_of_weight(cotangent, x, weight, *, axis, precision, factors):
    """Contracted over the first axis of both: nothing has to be transposed."""
    del weight
    pair = (x, cotangent) if axis == 0 else (cotangent, x)

    def directly(x, y):
        return _contract(x, y, 0, 0, precision, factors)

    if factors is None:
        return directly(*pair)
    return lax.platform_dependent(
        *pair, cpu=functools.partial(_columns_as_rows, factors), default=directly
    )


def _columns_as_rows(factors, x, y):
    """`x.T @ y`, with the narrower of both transposed before.

    The CPU compiler has no fast product of two bfloat16 matrices over their first axes,
    and makes one of a plain transpose followed by a product. In pieces it stays one.
    """
    if y.shape[1] < x.shape[1]:
        return _columns_as_rows(factors, y, x).T
    # Small pieces, so that rows sharded over devices stay where they are.
    size = next((size for size in (2, 3, 5, 7) if x.shape[0] % size == 0), 1)
    x = x.astype(factors).reshape(x.shape[0] // size, size, x.shape[1])
    rows = x.transpose(2, 0, 1).reshape(x.shape[2], y.shape[0])
    product = _contract(rows, y, 1, 0, lax.Precision.DEFAULT, factors)
    return lax.optimization_barrier(product)


def _on_cpu(x, weight, *, factors, **how):
    """`_plain`, kept apart from a transpose that may follow.

    The CPU compiler would merge both into a product of bfloat16 matrices that it then
    cannot run ("Unsupported element type for DotThunk").
    """
    product = _plain(x, weight, factors=factors, **how)
    return lax.optimization_barrier(product) if factors else product


_dot.def_impl(jax.jit(_plain, static_argnames=("axis", "precision", "factors")))
_dot.def_abstract_eval(_shape)
mlir.register_lowering(_dot, mlir.lower_fun(_plain, multiple_results=False))
mlir.register_lowering(
    _dot, mlir.lower_fun(_on_cpu, multiple_results=False), platform="cpu"
)
batching.primitive_batchers[_dot] = _map
ad.defbilinear(_dot, _gradient_of_x, _gradient_of_weight)
