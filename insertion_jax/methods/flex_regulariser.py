"""Keeps learned laws of event times near the uniform one (arXiv 2602.18695).

Three penalties, for the insertions and, if their rates are learned, the unmaskings;
all vanish for a = b = 1:

    mean      sum_g ( mean_i F_i(t_g) - t_g )^2, over a random grid of 100 times
    boundary  sum_i ( relu(F_i(.01) - .01)^2 + relu(.99 - F_i(.99))^2 )
    kl        mean_i KL( law_i | uniform )

The first is a *sum* over the grid, and together with the third strong enough, at
weight 1, to make orders that differ not worth their while where few tokens are to be
ordered.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from insertion_jax.core import event_times

_GRID = 100
_MARGIN = 1e-4


class Penalties(NamedTuple):
    """Unweighted penalties, float[] each."""

    mean: chex.Array
    boundary: chex.Array
    kl: chex.Array


def penalties(
    key: chex.PRNGKey, shape: chex.Numeric, rates: chex.Array, free: chex.Array
) -> Penalties:
    """Penalises the laws of one kind of event.

    Args:
      key: typed PRNG key, of the grid.
      shape: a of the Kumaraswamy laws.
      rates: float[L], b.
      free: bool[L], the tokens that have events; where there is none all is 0.

    Returns:
      `Penalties`.
    """
    offsets = jax.random.uniform(key, (_GRID,))
    grid = (jnp.arange(_GRID) + offsets) / _GRID * (1 - 2 * _MARGIN) + _MARGIN
    count = jnp.maximum(jnp.sum(free), 1)
    safe = jnp.where(free, rates, 1.0)
    boundary = jnp.where(free, event_times.boundary_penalty(shape, safe), 0.0)
    kl = jnp.where(free, event_times.kl_to_uniform(shape, safe), 0.0)
    return Penalties(
        mean=event_times.mean_penalty(shape, safe, free, grid),
        boundary=jnp.sum(boundary),
        kl=jnp.sum(kl) / count,
    )
