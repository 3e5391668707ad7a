"""The law of event times: when a token comes as a mask, and when it is revealed."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex

from insertion_jax.core import event_times, schedules


class Law(NamedTuple):
    """A law of the two event times of each token, given its rates.

    The hazard of an event is its rate b times a base hazard r(t), whose integral H
    from 0 to t is a clock; both belong to the kind of event.

    Attributes:
      insert_hazard: `(t) -> r_in(t)`.
      unmask_hazard: `(t) -> r_um(t)`.
      insert_clock: `(t) -> H_in(t)`, finite: large for infinity at t = 1.
      unmask_clock: `(t) -> H_um(t)`.
      draw: `(key, insert[L], unmask[L]) -> (insert_time[L], unmask_time[L])`.
      state_log_probs: `(t, insert[L], unmask[L]) -> (absent[L], mask[L], clean[L])`,
        log-probabilities in nats; None for laws whose rates are not learned.
    """

    insert_hazard: Callable[[chex.Numeric], chex.Array]
    unmask_hazard: Callable[[chex.Numeric], chex.Array]
    insert_clock: Callable[[chex.Numeric], chex.Array]
    unmask_clock: Callable[[chex.Numeric], chex.Array]
    draw: Callable[..., Any]
    state_log_probs: Callable[..., Any] | None = None


def kumaraswamy(shape: float) -> Law:
    """LoFlexMDM's law (arXiv 2602.18695), `r(t) = a t^(a-1) / (1 - t^a)` for both.

    Args:
      shape: a > 0; 1 is FlexMDM's linear schedule where all rates are 1.
    """
    hazard = functools.partial(event_times.base_hazard, a=shape)
    clock = functools.partial(event_times.cumulative_base_hazard, a=shape)

    def draw(key, insert, unmask):
        return event_times.sample(key, shape, insert, unmask)

    def state_log_probs(t, insert, unmask):
        return event_times.state_log_probs(t, shape, insert, unmask)

    return Law(hazard, hazard, clock, clock, draw, state_log_probs)


def scheduled(insert: schedules.Schedule, unmask: schedules.Schedule) -> Law:
    """FlexMDM's law (arXiv 2509.01025): fixed schedules, and 1 for all rates."""

    def draw(key, insert_rates, unmask_rates):
        del unmask_rates
        return schedules.sample(key, insert, unmask, insert_rates.shape[0])

    return Law(
        insert.hazard,
        unmask.hazard,
        insert.cumulative_hazard,
        unmask.cumulative_hazard,
        draw,
    )
