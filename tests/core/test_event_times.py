"""Laws of event times against decimals, float64 formulas and quadrature."""

import decimal
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
from scipy import special

from insertion_jax.core import event_times

SHAPES = (1, 2, 5)
TIMES = (1e-4, 0.03, 0.5, 0.9, 1 - 1e-4)
RATES = (1e-3, 0.1, 1.0, 3.0, 100.0)


def _rate_pairs():
    """Far apart, equal, and nearly so."""
    pairs = list(itertools.product(RATES, RATES))
    for rate, gap in itertools.product(RATES, (2e-7, 1e-5, 1e-3, 0.03, 0.3)):
        pairs += [(rate, rate * (1 + gap)), (rate * (1 + gap), rate)]
    return pairs


# Rows (t, a, b_insert, b_unmask), which are exact in float32.
GRID = np.array(
    [(t, a, *pair) for t, a, pair in itertools.product(TIMES, SHAPES, _rate_pairs())],
    np.float32,
)


def _textbook(log_survival, b_insert, b_unmask):
    """Probabilities of the states, from log(1 - t^a) in decimals."""
    drop, late = ((b * log_survival).exp() for b in (b_insert, b_unmask))
    mask = b_insert * (late - drop) / (b_insert - b_unmask)
    return drop, mask, 1 - drop - mask


def _log(prob):
    """log of a decimal; the fast one wherever a float holds the number."""
    return math.log(prob) if prob > 1e-300 else float(prob.ln())


def _decimal_states(rows):
    """Logs of the probabilities and their derivatives in both rates.

    The textbook's formulas in 90 digits, derivatives by central differences.
    """
    values, slopes = [], []
    with decimal.localcontext() as context:
        context.prec = 90
        for row in rows:
            t, a, *rates = map(decimal.Decimal, map(float, row))
            if rates[0] == rates[1]:
                rates[0] *= 1 + decimal.Decimal("1e-20")
            log_survival = (1 - t ** int(a)).ln()
            probs = _textbook(log_survival, *rates)
            values.append([_log(prob) for prob in probs])
            for i in range(2):
                step = rates[i] * decimal.Decimal("1e-12")
                up, down = list(rates), list(rates)
                up[i], down[i] = rates[i] + step, rates[i] - step
                slopes.append(
                    [
                        float((high - low) / (2 * step * prob))
                        for high, low, prob in zip(
                            _textbook(log_survival, *up),
                            _textbook(log_survival, *down),
                            probs,
                            strict=True,
                        )
                    ]
                )
    return np.array(values), np.array(slopes).reshape(-1, 2, 3).transpose(0, 2, 1)


def _worst(made, exact, scale):
    return np.max(np.abs(made - exact) / scale)


def _state_errors(function, decimals):
    """Worst errors in float32 of values, of slopes in the rates, and in t."""
    twice = lambda *row: (jnp.stack(function(*row)),) * 2
    slopes, made = tables.jit(jax.vmap(jax.jacrev(twice, (0, 2, 3), has_aux=True)))(
        *GRID.T
    )
    exact, exact_slopes = decimals
    t, a, b_insert, b_unmask = GRID.T.astype(float)
    rates = np.stack([b_insert, b_unmask], -1)[:, None]
    # All probabilities are functions of both rates times the clock.
    clock = -np.log1p(-(t**a))
    speed = a * t ** (a - 1) / (1 - t**a)
    in_t = np.sum(exact_slopes * rates, -1) * (speed / clock)[:, None]
    natural = (speed * (1 / clock + b_insert + b_unmask))[:, None]
    return (
        _worst(made, exact, np.maximum(1, np.abs(exact))),
        _worst(
            np.stack(slopes[1:], -1),
            exact_slopes,
            np.abs(exact_slopes) + 1 / rates,
        ),
        _worst(slopes[0], in_t, np.abs(in_t) + natural),
    )


@pytest.fixture(scope="module")
def decimals():
    """What `_decimal_states` gives on the grid."""
    return _decimal_states(GRID)


def test_states_in_float32_against_decimals(decimals):
    errors = _state_errors(event_times.state_log_probs, decimals)
    assert max(errors) < 2e-6, errors


def test_control_the_textbook_formula_in_float32_is_far_off(decimals):
    def textbook(t, a, b_insert, b_unmask):
        log_survival = jnp.log1p(-jnp.minimum(t**a, 1 - 1e-7))
        gap = b_insert - b_unmask
        equal = jnp.abs(gap) < 1e-6
        log_drop, log_late = b_insert * log_survival, b_unmask * log_survival
        apart = (jnp.exp(log_late) - jnp.exp(log_drop)) / jnp.where(equal, 1.0, gap)
        together = -log_survival * jnp.exp(log_late)
        mask = b_insert * jnp.where(equal, together, apart)
        clean = 1 - jnp.exp(log_drop) - mask
        return log_drop, jnp.log(mask + 1e-30), jnp.log(jnp.maximum(clean, 1e-7))

    values, slopes, _ = _state_errors(textbook, decimals)
    assert values > 1e-2
    assert not slopes < 1e-2  # it may not even be a number


def test_slopes_have_no_step_where_the_rates_meet():
    gaps = np.concatenate([-np.logspace(-2, -7, 30), [0], np.logspace(-7, -2, 30)])
    b_unmask = np.float32(2 * (1 + gaps))
    function = lambda b: jnp.stack(event_times.state_log_probs(0.6, 1, 2.0, b))
    slopes = np.array(tables.jit(jax.vmap(jax.jacrev(function)))(b_unmask))
    for column in slopes.T:
        # Away from the straight line only by its curvature.
        line = np.interp(b_unmask, b_unmask[[0, -1]], column[[0, -1]])
        np.testing.assert_allclose(column, line, atol=1e-4)
        assert np.ptp(column[np.abs(gaps) < 2e-6]) < 2e-6


def test_published_values():
    @tables.jit
    def made():
        b = jnp.array([1.0, 3.0])
        together = jnp.array(event_times.state_log_probs(0.3, 1, 1, 1))
        apart = jnp.array(event_times.state_log_probs(0.5, 1, 3, 1))
        return (
            together,
            jnp.exp(together),
            apart,
            jnp.exp(apart),
            event_times.hazard(0.3, 1, 1),
            event_times.hazard(0.5, 1, b),
            event_times.inverse_cdf(0.5, 1, b),
            event_times.kl_to_uniform(1, b),
            event_times.mean(1, b),
            event_times.boundary_penalty(1, b),
        )

    published = (
        (-0.35667494, -1.38760538, -2.98920285),
        (0.7, 0.24967246, 0.05032754),
        (-2.07944154, -0.57536414, -1.16315081),
        (0.125, 0.5625, 0.3125),
        1.42857143,
        (2, 6),
        (0.5, 0.20629947),
        (0, 0.43194562),
        (0.5, 0.25),
        (0, 0.00038813),
    )
    with jax.enable_x64(True):
        for value, expected in zip(made(), published, strict=True):
            np.testing.assert_allclose(value, expected, atol=5e-9)


def _numpy_clock(t, a):
    return -np.log1p(-(t**a))


def _numpy_cdf(t, a, b):
    return -np.expm1(-b * _numpy_clock(t, a))


# A name, the function in NumPy's float64, and the arguments' columns.
ELEMENTWISE = {
    "cumulative_base_hazard": (_numpy_clock, "ta"),
    "base_hazard": (lambda t, a: a * t ** (a - 1) / (1 - t**a), "ta"),
    "hazard": (lambda t, a, b: b * a * t ** (a - 1) / (1 - t**a), "tab"),
    "cdf": (_numpy_cdf, "tab"),
    "inverse_cdf": (
        lambda t, a, b: (-np.expm1(np.log1p(-t) / b)) ** (1 / a),
        "tab",
    ),
    "mean": (lambda a, b: b * special.beta(1 + 1 / a, b), "ab"),
    "kl_to_uniform": (
        lambda a, b: (
            np.log(a * b)
            + (1 - 1 / a) * (special.digamma(1) - special.digamma(b + 1))
            - (b - 1) / b
        ),
        "ab",
    ),
    "boundary_penalty": (
        lambda a, b: (
            np.maximum(_numpy_cdf(0.01, a, b) - 0.01, 0) ** 2
            + np.maximum(0.99 - _numpy_cdf(0.99, a, b), 0) ** 2
        ),
        "ab",
    ),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_float32_against_float64(name):
    exact, columns = ELEMENTWISE[name]
    rows = dict(zip("tab", GRID.T[:3], strict=True))
    arguments = [rows[column] for column in columns]
    last = len(arguments) - 1
    made, slopes = tables.jit(
        jax.vmap(jax.value_and_grad(getattr(event_times, name), last))
    )(*arguments)
    wide = [argument.astype(float) for argument in arguments]
    expected = exact(*wide)
    np.testing.assert_allclose(made, expected, rtol=5e-6, atol=1e-6)
    # Slopes in the last argument, per relative change of it.
    step = 1e-5 * wide[last]
    up, down = [*wide[:last], wide[last] + step], [*wide[:last], wide[last] - step]
    relative = (exact(*up) - exact(*down)) / 2e-5
    scale = np.abs(relative) + np.abs(expected) + 1e-3
    assert _worst(slopes * wide[last], relative, scale) < 1e-4


def test_hazard_is_the_slope_of_the_clock():
    t, a, b = GRID.T[:3]
    clock = lambda t, a, b: b * event_times.cumulative_base_hazard(t, a)
    slopes = tables.jit(jax.vmap(jax.grad(clock)))(t, a, b)
    hazard = tables.jit(event_times.hazard)(t, a, b)
    np.testing.assert_allclose(slopes, hazard, rtol=5e-6)


def test_inverse_undoes_cdf():
    @tables.jit
    def there_and_back(t, a, b):
        u = event_times.cdf(t, a, b)
        return u, event_times.inverse_cdf(u, a, b)

    with jax.enable_x64(True):
        rows = GRID.T[:3].astype(float)
        u, back = there_and_back(*rows)
        known = np.array((u > 1e-12) & (u < 1 - 1e-6))
        assert known.mean() > 0.5
        np.testing.assert_allclose(back[known], rows[0][known], rtol=1e-9)


def test_truncated_inverse_is_its_definition():
    rows = np.meshgrid(
        np.linspace(0, 0.99, 7), (0.0, 0.2, 0.7), SHAPES, (0.3, 1.0, 4.0)
    )

    def definition(u, lower, a, b):
        past = event_times.cdf(lower, a, b)
        return event_times.inverse_cdf(u * (1 - past) + past, a, b)

    with jax.enable_x64(True):
        expected = tables.jit(definition)(*rows)
        made = tables.jit(event_times.truncated_inverse_cdf)(*rows)
        np.testing.assert_allclose(made, expected, atol=1e-12)
    made = tables.jit(event_times.truncated_inverse_cdf)(*map(np.float32, rows))
    assert made.dtype == jnp.float32
    np.testing.assert_allclose(made, expected, atol=1e-6)
    assert (made >= np.float32(rows[1])).all()


def _integrate(function):
    """The integral over [0, 1] in float64, with nodes that crowd towards 1."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    s = 18 * (nodes + 1)
    return jnp.sum(function(-jnp.expm1(-s)) * jnp.exp(-s) * 18 * weights, axis=-1)


def test_every_token_is_inserted_and_unmasked_once():
    rates = (0.7, 1.0, 3.0, 20.0)
    laws = np.array(list(itertools.product(SHAPES, rates, rates)))

    def fluxes(law):
        def flux(t):
            drop, mask, _ = map(jnp.exp, event_times.state_log_probs(t, *law))
            inserting, unmasking = (event_times.hazard(t, law[0], b) for b in law[1:])
            right, wrong = (drop * inserting, mask * unmasking), drop * unmasking
            return jnp.stack([*right, wrong])

        return _integrate(flux)

    with jax.enable_x64(True):
        made = np.array(tables.jit(jax.vmap(fluxes))(laws))
    np.testing.assert_allclose(made[:, :2], 1, atol=1e-6)
    # Control: with the other rate the quotient of both comes out.
    np.testing.assert_allclose(made[:, 2], laws[:, 2] / laws[:, 1], rtol=1e-6)
    assert (np.abs(made[:, 2] - 1) > 0.1).sum() == 3 * 12


def test_kl_is_the_integral():
    def integral(a, b):
        def integrand(t):
            survival = jnp.exp(-b * event_times.cumulative_base_hazard(t, a))
            density = event_times.hazard(t, a, b) * survival
            return density * jnp.log(density)

        return _integrate(integrand)

    a, b = map(np.ravel, np.meshgrid((1.0, 2.0, 5.0), (0.8, 1.0, 3.0)))
    with jax.enable_x64(True):
        exact = tables.jit(jax.vmap(integral))(a, b)
        np.testing.assert_allclose(event_times.kl_to_uniform(a, b), exact, atol=1e-4)


def test_mean_penalty():
    grid = (np.arange(100) + 0.5) / 100
    b, everyone = np.array([4.0, 0.2, 9.0, 1.0]), np.full(4, True)
    some, no_one = np.array([True, True, False, False]), np.full(4, False)
    with jax.enable_x64(True):
        penalty = tables.jit(
            jax.value_and_grad(lambda b, m: event_times.mean_penalty(1, b, m, grid))
        )
        # 100 (1/3 - 2/(b+2) + 1/(2b+1)) for a common rate, up to the grid.
        for rate, published in ((2, 3.33), (3, 7.62), (10, 21.43), (50, 30.48)):
            made, _ = penalty(np.array([rate, rate, 0.1, 7.0]), some)
            np.testing.assert_allclose(made, published, atol=0.02)
            # A quarter of the tokens has the rate, the others 1.
            few, _ = penalty(np.array([rate, 1.0, 1.0, 1.0]), everyone)
            np.testing.assert_allclose(few, made / 16, rtol=1e-9)
        assert penalty(np.ones(4), everyone)[0] < 1e-20
        value, slopes = penalty(b, no_one)
        assert value == 0
        np.testing.assert_array_equal(slopes, 0)
        _, slopes = penalty(b, some)
        assert slopes[0] > 0
        np.testing.assert_array_equal(slopes[2:], 0)


def test_all_is_finite_at_the_ends():
    t = np.array([0, 1e-38, 1e-20, 1e-7, 1 - 6e-8, 1], np.float32)
    a = np.array([0.5, 1, 1.01, 5], np.float32)
    b = np.array([1e-3, 1.01, 100], np.float32)

    def everything(t, a, b):
        pair = jnp.stack([jnp.stack([b, 2.0 * b]), jnp.stack([2.0 * b, b])])
        return (
            event_times.cdf(t, a, b)
            + event_times.hazard(t, a, b)
            + event_times.truncated_inverse_cdf(t, t, a, b)
            + sum(map(jnp.sum, event_times.state_log_probs(t, a, *pair)))
        )

    rows = list(map(np.ravel, np.meshgrid(t, a, b)))
    values, slopes = tables.jit(
        jax.vmap(jax.value_and_grad(everything, argnums=(0, 1, 2)))
    )(*rows)
    assert jnp.isfinite(values).all()
    # In t where the density itself is finite.
    tame = (rows[0] == 0) | (rows[0] > 1e-8)
    assert jnp.isfinite(slopes[0][tame]).all()
    assert jnp.isfinite(slopes[1]).all()
    assert jnp.isfinite(slopes[2]).all()


def test_the_ends():
    a = np.array([1.0, 1.01, 2.0])
    rates = tables.jit(event_times.base_hazard)(0.0, a)
    np.testing.assert_array_equal(rates, [1, 0, 0])
    ends = np.array([0.0, 1.0])
    np.testing.assert_array_equal(tables.jit(event_times.cdf)(ends, 2.0, 1e-3), ends)
    inverse_cdf = tables.jit(event_times.inverse_cdf)
    np.testing.assert_array_equal(inverse_cdf(ends, 5.0, 1.0), ends)
    log_drop, log_mask, log_clean = np.array(
        tables.jit(event_times.state_log_probs)(ends, 2.0, 3.0, 1.0)
    )
    assert log_drop[0] == log_clean[1] == 0
    assert max(log_mask[0], log_clean[0], log_drop[1], log_mask[1]) < -50


def test_half_precision_is_widened():
    @tables.jit
    def made(half):
        return [
            *event_times.state_log_probs(0.3, 1, half, half),
            *event_times.sample(jax.random.key(0), 1, half, half),
            event_times.cdf(0.3, 1, half),
            event_times.hazard(0.3, 1, half),
        ]

    half = jax.ShapeDtypeStruct((2,), jnp.bfloat16)
    for value in jax.eval_shape(made, half):
        assert value.dtype == jnp.float32
        assert value.shape == (2,)
