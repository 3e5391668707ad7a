"""A linear map that keeps to plain matrix products under `vmap`."""

import functools
import re

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables

from insertion_jax.networks import dense

_X = jax.random.normal(jax.random.key(0), (5, 4, 3, 2))
_WEIGHT = jax.random.normal(jax.random.key(1), (2, 6))


def _value(product):
    """A scalar of both arguments that is linear in neither."""
    return lambda x, weight: jnp.sum(jnp.sin(product(x, weight)))


def _mapped(product):
    """As a network maps it: over examples, then over samples."""
    return jax.vmap(jax.vmap(product, (0, None)), (0, None))


_ROWS, _PLAIN = _mapped(dense.rows_dot), _mapped(jnp.dot)
_MIXED = _mapped(functools.partial(dense.rows_dot, factors="bfloat16"))


@pytest.mark.parametrize("x", [_X, _X[0], _X[0, 0], _X[0, 0, 0]])
def test_it_is_the_product(x):
    chex.assert_trees_all_close(dense.rows_dot(x, _WEIGHT), x @ _WEIGHT, rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_axis_of_x_can_be_mapped(axis):
    mapped = jax.vmap(dense.rows_dot, (axis, None), axis)
    chex.assert_trees_all_close(mapped(_X, _WEIGHT), _X @ _WEIGHT, rtol=1e-5)


@pytest.mark.parametrize("axes", [(0, 1), (None, 1), (2, 1)])
def test_weights_can_be_mapped(axes):
    weights = jax.random.normal(jax.random.key(2), (2, 3, 6))
    x = _X if axes[0] == 2 else _X[:3]
    chex.assert_trees_all_close(
        jax.vmap(dense.rows_dot, axes)(x, weights),
        jax.vmap(jnp.dot, axes)(x, weights),
        rtol=1e-5,
    )


def test_gradients_of_a_mapped_product():
    gradients = [
        jax.grad(_value(product), (0, 1))(_X, _WEIGHT) for product in (_ROWS, _PLAIN)
    ]
    chex.assert_trees_all_close(*gradients, rtol=1e-4, atol=1e-5)


def test_gradients_of_each_example():
    gradients = [
        jax.vmap(jax.grad(_value(product), 1), (0, None))(_X[0], _WEIGHT)
        for product in (dense.rows_dot, jnp.dot)
    ]
    chex.assert_shape(gradients[0], (4, 2, 6))
    chex.assert_trees_all_close(*gradients, rtol=1e-4, atol=1e-5)


def test_second_derivatives():
    hessians = [
        jax.hessian(_value(product), 1)(_X, _WEIGHT) for product in (_ROWS, _PLAIN)
    ]
    chex.assert_trees_all_close(*hessians, rtol=1e-4, atol=1e-5)


def test_bfloat16_stays():
    x, weight = _X.astype(jnp.bfloat16), _WEIGHT.astype(jnp.bfloat16)
    assert _ROWS(x, weight).dtype == jnp.bfloat16
    for gradient in jax.grad(_value(_ROWS), (0, 1))(x, weight):
        assert gradient.dtype == jnp.bfloat16


def test_no_rows_and_nothing_to_sum():
    assert dense.rows_dot(jnp.ones((0, 2)), _WEIGHT).shape == (0, 6)
    made = dense.rows_dot(jnp.ones((3, 0)), jnp.ones((0, 6)))
    chex.assert_trees_all_equal(made, jnp.zeros((3, 6)))


@pytest.mark.parametrize(
    ("x", "weight"),
    [
        (_X[..., :1], _WEIGHT),
        (_X, _WEIGHT[None]),
        (_X.astype(jnp.bfloat16), _WEIGHT),
    ],
)
def test_what_does_not_fit_is_refused(x, weight):
    with pytest.raises(TypeError, match="cannot be multiplied with rows of float32"):
        jax.eval_shape(dense.rows_dot, x, weight)


def test_precision_is_that_of_the_caller():
    def run(x):
        with jax.default_matmul_precision("highest"):
            return _value(_ROWS)(x, _WEIGHT)

    lowered = jax.jit(jax.grad(run)).lower(_X).as_text()
    assert lowered.count("precision = [HIGHEST, HIGHEST]") == 2  # there and back


def _collectives(product, spec, num_devices=8, shape=(8, 8, 3, 2), width=6):
    devices = np.array(jax.devices()[:num_devices])
    mesh = jax.sharding.Mesh(devices, ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding
    x = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding(mesh, spec))
    whole = sharding(mesh, jax.P())
    weight = jax.ShapeDtypeStruct((2, width), jnp.float32, sharding=whole)
    compiled = jax.jit(jax.grad(_value(product), 1)).lower(x, weight).compile()
    return set(re.findall(r"(all-\w+)\(", compiled.as_text()))


def test_a_sharded_batch_is_not_gathered():
    """The control: behind another mapped axis it is, and the docstring says so."""
    assert _collectives(_ROWS, jax.P("d")) == {"all-reduce"}
    assert "all-gather" in _collectives(_ROWS, jax.P(None, "d"))


@pytest.mark.parametrize("width", [1, 6])  # less and more than x has
@pytest.mark.parametrize(
    ("num_devices", "shape"),
    [(8, (8, 8, 3, 2)), (3, (6, 7, 1, 2)), (6, (12, 16, 1, 2)), (5, (25, 3, 1, 2))],
)
def test_a_sharded_batch_of_mixed_products_is_not_gathered(num_devices, shape, width):
    found = _collectives(_MIXED, jax.P("d"), num_devices, shape, width)
    assert found == {"all-reduce"}


@pytest.mark.parametrize("width", [4, 6])  # less and more than the other has
@pytest.mark.parametrize("num_rows", [1, 2, 11, 45, 64])
def test_columns_as_rows_is_the_product_of_other_platforms(num_rows, width):
    x = jax.random.normal(jax.random.key(6), (num_rows, 5))
    y = jax.random.normal(jax.random.key(7), (num_rows, width))
    made = tables.jit(functools.partial(dense._columns_as_rows, "bfloat16"))(x, y)
    chex.assert_trees_all_close(made, _round(x).T @ _round(y), rtol=1e-4, atol=1e-4)


def test_gradients_under_shard_map():
    mesh = jax.make_mesh((8,), ("d",), (jax.sharding.AxisType.Auto,))
    x = jax.random.normal(jax.random.key(5), (8, 4, 3, 2))

    def total(product):
        def local(x, weight):
            return jax.lax.psum(_value(product)(x, weight), "d")

        specs = (jax.P("d"), jax.P())
        return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=jax.P())

    gradients = [
        jax.grad(total(product), (0, 1))(x, _WEIGHT) for product in (_ROWS, _PLAIN)
    ]
    chex.assert_trees_all_close(*gradients, rtol=1e-4, atol=1e-5)


def test_parameters_are_those_of_flax():
    ours, theirs = dense.Dense(6), nn.Dense(6)
    params = theirs.init(jax.random.key(3), _X)
    chex.assert_trees_all_equal(ours.init(jax.random.key(3), _X), params)
    chex.assert_trees_all_close(
        ours.apply(params, _X), theirs.apply(params, _X), rtol=1e-5
    )


def test_another_product_is_refused():
    with pytest.raises(NotImplementedError, match="at default precision"):
        dense.Dense(6, precision="highest").init(jax.random.key(4), _X)


@pytest.mark.parametrize(("product", "contracted"), [(_ROWS, "0"), (_PLAIN, "0, 1, 2")])
def test_a_weight_has_its_gradient_from_one_plain_product(product, contracted):
    """The control is what the default does: three axes at once."""
    lowered = jax.jit(jax.grad(_value(product), 1)).lower(_X, _WEIGHT).as_text()
    axes = re.findall(r"contracting_dims = \[([\d, ]+)\] x \[\1\]", lowered)
    assert axes == [contracted]


def _rounded_product(x, weight):
    """The definition: factors of all three products rounded, sums in float32."""

    @jax.custom_vjp
    def product(x, weight):
        return _round(x) @ _round(weight)

    def backward(saved, cotangent):
        x, weight = map(_round, saved)
        cotangent = _round(cotangent)
        rows = (z.reshape(-1, z.shape[-1]) for z in (x, cotangent))
        return cotangent @ weight.T, jnp.matmul(next(rows).T, next(rows))

    product.defvjp(lambda *args: (product(*args), args), backward)
    return product(x, weight)


def _round(x):
    return x.astype(jnp.bfloat16).astype(jnp.float32)


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 3, 5), (96, 64, 32), (37, 1, 64)])
def test_mixed_products_round_their_factors_alone(shape):
    rows, inner, outer = shape
    x = jax.random.normal(jax.random.key(3), (4, 2, rows, inner))
    weight = jax.random.normal(jax.random.key(4), (inner, outer))
    # A cotangent that is no bfloat16, but whose rounding no order of sums changes.
    cotangent = jax.random.normal(jax.random.key(5), (4, 2, rows, outer))
    made, expected = (
        tables.jit(lambda x, w, p=product: (p(x, w), jax.vjp(p, x, w)[1](cotangent)))(
            x, weight
        )
        for product in (_MIXED, _rounded_product)
    )
    chex.assert_trees_all_close(made, expected, rtol=1e-4, atol=1e-4)
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype(jnp.float32)}


def test_mixed_products_are_not_the_plain_ones():
    assert jnp.abs(_MIXED(_X, _WEIGHT) - _PLAIN(_X, _WEIGHT)).max() > 1e-4


@pytest.mark.parametrize("axes", [(0, 1), (None, 1), (2, 1)])
def test_weights_of_mixed_products_can_be_mapped(axes):
    weights = jax.random.normal(jax.random.key(2), (2, 3, 6))
    x = _X if axes[0] == 2 else _X[:3]
    mixed = functools.partial(dense.rows_dot, factors="bfloat16")
    chex.assert_trees_all_close(
        tables.jit(jax.vmap(mixed, axes))(x, weights),
        jax.vmap(lambda x, w: _round(x) @ _round(w), axes)(x, weights),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("shape", [(64, 32, 128), (64, 128, 32), (64, 128, 128)])
def test_mixed_products_can_be_transposed(shape):
    """The CPU compiler must not make one product of a product and a transpose."""
    rows, inner, outer = shape
    x = jax.random.normal(jax.random.key(8), (rows, inner))
    weight = jax.random.normal(jax.random.key(9), (inner, outer))
    product = functools.partial(dense.rows_dot, factors="bfloat16")
    value = lambda x, weight: jnp.square(product(x, weight)).sum()
    transposed = {
        "value": lambda x, weight: product(x, weight).T,
        "gradients": lambda x, weight: [
            g.T for g in jax.grad(value, (0, 1))(x, weight)
        ],
        "tied": lambda x, weight: jax.grad(lambda w: value(x, w.T))(weight.T),
    }
    for run in transposed.values():
        made, expected = jax.jit(run)(x, weight), run(x, weight)
        chex.assert_trees_all_close(made, expected, rtol=1e-3, atol=1e-2)
