"""Fixed schedules of insertion and unmasking times, the same for every token.

A schedule is the law of a time on [0, 1] (FlexMDM, arXiv 2509.01025): its value
`alpha(t)` is the probability that the event has come by time t. Each is written here
by its cumulative hazard, from which all else follows without loss of digits at
either end:

    H(t) = -log(1 - alpha(t)),    H'(t) = alpha'(t) / (1 - alpha(t)), the hazard

On the clock H a wait is exponential, which has no memory: a time that is *truncated*
to come after another one is drawn by starting the clock there.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from insertion_jax.core import categorical, event_times
from insertion_jax.types import InputError

# The earliest insertion time, above 0 so that every sequence is empty at t = 0.
EPSILON = 1e-6


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The law of a time. All functions are elementwise, in float32 or wider.

    Attributes:
      cumulative_hazard: `(t) -> H(t)` for t in [0, 1]; finite, large for infinity.
      inverse_cumulative_hazard: `(tau) -> t` in [0, 1] for tau >= 0.
      hazard: `(t) -> H'(t)`, events per unit of time among what is still waiting;
        finite, large for infinity.
    """

    cumulative_hazard: Callable[[chex.Numeric], chex.Array]
    inverse_cumulative_hazard: Callable[[chex.Numeric], chex.Array]
    hazard: Callable[[chex.Numeric], chex.Array]

    def value(self, t: chex.Numeric) -> chex.Array:
        """`alpha(t)`, the probability of an event by time t."""
        return -jnp.expm1(-self.cumulative_hazard(t))

    def inverse(self, u: chex.Numeric) -> chex.Array:
        """The time in [0, 1] at which the value is, or comes closest to, u."""
        return self.inverse_cumulative_hazard(event_times.exponential_quantile(u))


def linear() -> Schedule:
    """`alpha(t) = t`: uniform times, the published choice for both events."""
    return polynomial(1.0)


def polynomial(exponent: float = 2.0) -> Schedule:
    """`alpha(t) = t^exponent`, Kumaraswamy's law of rate 1.

    Raises:
      InputError: for an exponent that is not positive and finite.
    """
    if not 0 < exponent < math.inf:
        raise InputError(
            "The exponent of a polynomial schedule must be positive and finite, "
            f"got {exponent}."
        )
    return Schedule(
        functools.partial(event_times.cumulative_base_hazard, a=exponent),
        functools.partial(event_times.time_at, a=exponent),
        functools.partial(event_times.base_hazard, a=exponent),
    )


def cosine() -> Schedule:
    """`alpha(t) = 1 - cos(pi t / 2)`: late times."""

    def cumulative_hazard(t):
        sin, cos = _sin_cos(t)
        return 0.5 * jnp.log1p((sin / cos) ** 2)

    def inverse_cumulative_hazard(tau):
        tau = categorical.widen(tau)
        cos = jnp.exp(-tau)
        return jnp.arctan2(jnp.sqrt(-jnp.expm1(-2 * tau)), cos) * (2 / jnp.pi)

    def hazard(t):
        sin, cos = _sin_cos(t)
        return jnp.pi / 2 * sin / cos

    return Schedule(cumulative_hazard, inverse_cumulative_hazard, hazard)


def sine() -> Schedule:
    """`alpha(t) = sin(pi t / 2)`: early times."""

    # All by 1 - sin = cos^2 / (1 + sin).
    def cumulative_hazard(t):
        sin, cos = _sin_cos(t)
        return jnp.log1p(sin) + jnp.log1p((sin / cos) ** 2)

    def inverse_cumulative_hazard(tau):
        tau = categorical.widen(tau)
        sin = -jnp.expm1(-tau)
        return jnp.arctan2(sin, jnp.sqrt(jnp.exp(-tau) * (1 + sin))) * (2 / jnp.pi)

    def hazard(t):
        sin, cos = _sin_cos(t)
        return jnp.pi / 2 * (1 + sin) / cos

    return Schedule(cumulative_hazard, inverse_cumulative_hazard, hazard)


def geometric(start: float = 10.0, end: float = 0.01) -> Schedule:
    """`alpha(t) = exp(-m)` with `m = start^(1-t) end^t`.

    It starts above 0 and does not reach 1: a time is 0 with probability `alpha(0)`, and
    with probability `1 - alpha(1)` it is 1, the event never coming.

    Args:
      start: m at time 0.
      end: m at time 1; above 0 and below `start`.

    Raises:
      InputError: unless `0 < end < start`.
    """
    if not 0 < end < start < math.inf:
        raise InputError(
            "A geometric schedule must fall from a finite start to an end above 0, "
            f"got start={start} and end={end}."
        )
    slope = math.log(start / end)

    def exponent(t):
        return start * jnp.exp(-slope * categorical.widen(t))

    def cumulative_hazard(t):
        return -jax.nn.log1mexp(exponent(t))

    def inverse_cumulative_hazard(tau):
        m = -jax.nn.log1mexp(categorical.widen(tau))
        return jnp.clip((math.log(start) - jnp.log(m)) / slope, 0.0, 1.0)

    def hazard(t):
        m = exponent(t)
        return slope * m / jnp.expm1(m)

    return Schedule(cumulative_hazard, inverse_cumulative_hazard, hazard)


SCHEDULES = {
    "linear": linear,
    "geometric": geometric,
    "sine": sine,
    "cosine": cosine,
    "polynomial": polynomial,
}


def named(name: str, **parameters: float) -> Schedule:
    """The schedule of a name of `SCHEDULES`, with its parameters.

    Raises:
      InputError: for an unknown name.
    """
    if name not in SCHEDULES:
        raise InputError(
            f"There is no schedule {name!r}; allowed are {', '.join(SCHEDULES)}."
        )
    return SCHEDULES[name](**parameters)


def sample(
    key: chex.PRNGKey, insert: Schedule, unmask: Schedule, size: int
) -> tuple[chex.Array, chex.Array]:
    """Draws the insertion and the unmasking times of some tokens, independently.

    An insertion time has the law of its schedule, squeezed into
    `[EPSILON, 1]` by `t -> EPSILON + (1 - EPSILON) t`. An unmasking time has the
    law of its own schedule, truncated to come after the insertion.

    Args:
      key: typed PRNG key.
      insert: the law of insertion times.
      unmask: the law of unmasking times.
      size: L, how many tokens.

    Returns:
      `(insert_time, unmask_time)`, float32[L] each, with
      `EPSILON <= insert_time <= unmask_time <= 1`.
    """
    waits = jax.random.exponential(key, (2, size), jnp.float32)
    inserted = insert.inverse_cumulative_hazard(waits[0])
    insert_time = EPSILON + (1 - EPSILON) * inserted
    clock = unmask.cumulative_hazard(insert_time) + waits[1]
    # The inverse need not be monotone in its last bit.
    unmask_time = jnp.maximum(unmask.inverse_cumulative_hazard(clock), insert_time)
    return insert_time, unmask_time


def _sin_cos(t):
    """Sine and cosine of `pi t / 2`; the second is kept half a rounding above 0."""
    t = categorical.widen(t)
    left = jnp.maximum(1 - t, jnp.finfo(t.dtype).epsneg)
    return jnp.sin(jnp.pi / 2 * t), jnp.sin(jnp.pi / 2 * left)
