"""Fixed schedules against their definitions, and samples against both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
from scipy import stats

from insertion_jax.core import event_times, schedules
from insertion_jax.types import InputError

TIMES = np.concatenate([[1e-4, 1e-3], np.linspace(0.01, 0.99, 25), [0.999, 0.9999]])


def _geometric(t):
    m = 10 ** (1 - t) * 0.01**t
    return np.exp(-m), m * np.log(1000) / np.expm1(m)


# By name: the schedule's value and hazard, in NumPy.
DEFINITIONS = {
    "linear": lambda t: (t, 1 / (1 - t)),
    "geometric": _geometric,
    "sine": lambda t: (
        np.sin(np.pi * t / 2),
        np.pi / 2 * np.cos(np.pi * t / 2) / (1 - np.sin(np.pi * t / 2)),
    ),
    "cosine": lambda t: (
        1 - np.cos(np.pi * t / 2),
        np.pi / 2 * np.tan(np.pi * t / 2),
    ),
    "polynomial": lambda t: (t**2, 2 * t / (1 - t**2)),
}
NAMES = tuple(DEFINITIONS)
SIZE = 20_000


def _all_of(schedule):
    """Value, hazard, slope of the clock, and the time that comes back."""

    def function(t):
        clock, slope = jax.value_and_grad(schedule.cumulative_hazard)(t)
        value = schedule.value(t)
        there_and_back = schedule.inverse_cumulative_hazard(clock)
        return value, schedule.hazard(t), slope, there_and_back, schedule.inverse(value)

    return tables.jit(jax.vmap(function))


@pytest.mark.parametrize("name", NAMES)
def test_definitions(name):
    made_of = _all_of(schedules.named(name))
    value, hazard = DEFINITIONS[name](TIMES)
    with jax.enable_x64(True):
        made = made_of(TIMES)
        for array, exact in zip(
            made, (value, hazard, hazard, TIMES, TIMES), strict=True
        ):
            np.testing.assert_allclose(array, exact, rtol=1e-7)
    rounded = np.float32(TIMES)
    value, hazard = DEFINITIONS[name](np.float64(rounded))
    made = made_of(rounded)
    assert {array.dtype for array in made} == {jnp.dtype("float32")}
    np.testing.assert_allclose(made[0], value, rtol=1e-5)
    for array in made[1:3]:
        np.testing.assert_allclose(array, hazard, rtol=1e-5)
    np.testing.assert_allclose(made[3], rounded, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_ends(name):
    schedule = schedules.named(name)
    ends = np.array([0.0, 1.0], np.float32)

    @tables.jit
    def at_ends(ends):
        return (
            schedule.value(ends),
            schedule.inverse(ends),
            schedule.hazard(ends),
            schedule.cumulative_hazard(ends),
        )

    value, inverse, hazard, clock = at_ends(ends)
    first, last = (np.exp(-10), np.exp(-0.01)) if name == "geometric" else (0, 1)
    np.testing.assert_allclose(value, [first, last], atol=1e-6)
    np.testing.assert_array_equal(inverse, ends)
    assert np.isfinite(hazard).all()
    assert np.isfinite(clock).all()


def test_linear_is_the_kumaraswamy_law_of_shape_and_rate_1():
    schedule = schedules.linear()
    t = np.float32(TIMES)
    made = tables.jit(lambda t: (schedule.hazard(t), schedule.value(t)))(t)
    law = tables.jit(
        lambda t: (event_times.hazard(t, 1.0, 1.0), event_times.cdf(t, 1.0, 1.0))
    )(t)
    np.testing.assert_array_equal(made, law)


def _draw(key, insert, unmask):
    draw = tables.jit(lambda key: schedules.sample(key, insert, unmask, SIZE))
    return map(np.array, draw(key))


def _z(events, probs):
    """How many standard deviations the number of events is from its mean."""
    deviation = np.sqrt(np.sum(probs * (1 - probs)))
    return np.abs(np.sum(events) - np.sum(probs)) / deviation


@pytest.mark.parametrize(
    ("insert", "unmask"),
    [
        ("linear", "linear"),
        ("sine", "linear"),
        ("geometric", "cosine"),
        ("polynomial", "sine"),
        ("cosine", "geometric"),
    ],
)
def test_samples(insert, unmask):
    laws = map(schedules.named, (insert, unmask))
    insert_time, unmask_time = _draw(jax.random.key(5), *laws)
    assert insert_time.dtype == unmask_time.dtype == np.float32
    assert insert_time.min() >= np.float32(schedules.EPSILON)
    assert (insert_time <= unmask_time).all()
    assert unmask_time.max() <= 1

    value = lambda name, t: DEFINITIONS[name](np.float64(t))[0]
    past = value(unmask, insert_time)
    for t in (0.2, 0.5, 0.8, 0.95):
        alpha, beta = np.full(SIZE, value(insert, t)), value(unmask, t)
        assert _z(insert_time <= t, alpha) < 4.5
        # Truncated to [insert_time, 1].
        truncated = np.where(insert_time < t, (beta - past) / (1 - past), 0)
        assert _z(unmask_time <= t, truncated) < 4.5
        if t == 0.5:  # the controls: a later law, and one that is not truncated
            assert _z(insert_time <= t, alpha - 0.05) > 8
            assert _z(unmask_time <= t, np.where(insert_time < t, beta, 0)) > 8


def test_states_of_linear_schedules():
    linear = schedules.linear()
    insert_time, unmask_time = _draw(jax.random.key(1), linear, linear)
    for t in (0.1, 0.5, 0.9):
        absent, masked = 1 - t, -(1 - t) * np.log(1 - t)
        counts = (t < insert_time).sum(), ((insert_time <= t) & (t < unmask_time)).sum()
        observed = [*map(int, counts), SIZE - sum(map(int, counts))]
        expected = SIZE * np.array([absent, masked, 1 - absent - masked])
        assert stats.chisquare(observed, expected).pvalue > 1e-4
        assert stats.chisquare(observed, expected[[1, 0, 2]]).pvalue < 1e-6


def test_geometric_mass_at_the_ends():
    law = schedules.geometric(start=2.0, end=0.5)
    insert_time, _ = _draw(jax.random.key(2), law, schedules.linear())
    at_start, by_end = np.exp([-2.0, -0.5])
    # Those at 0 are moved to EPSILON like all others.
    start = insert_time == np.float32(schedules.EPSILON)
    assert _z(start, np.full(SIZE, at_start)) < 4.5
    assert _z(insert_time < 1, np.full(SIZE, by_end)) < 4.5


def test_wrong_names_and_parameters():
    with pytest.raises(ValueError, match="linear, geometric, sine, cosine, polynomial"):
        schedules.named("sin")
    with pytest.raises(InputError, match="'log'"):
        schedules.named("log")
    for exponent in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(InputError, match="must be positive and finite"):
            schedules.named("polynomial", exponent=exponent)
    for start, end in ((0.01, 10.0), (1.0, 0.0), (1.0, 1.0)):
        with pytest.raises(InputError, match=f"start={start} and end={end}"):
            schedules.geometric(start, end)
    cubic = schedules.named("polynomial", exponent=3.0)
    np.testing.assert_allclose(cubic.value(0.5), 1 / 8, rtol=1e-6)
