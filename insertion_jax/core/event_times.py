"""Kumaraswamy laws of the times at which a token is inserted and unmasked.

A token of the data is absent until its insertion time, then a mask until its
unmasking time, then itself (LoFlexMDM, Patel et al., arXiv 2602.18695). Time runs
from 0 (nothing) to 1 (data). Both times have hazards `b * r(t)` with a common base
hazard and rates `b` of the token's own:

    r(t) = a t^(a-1) / (1 - t^a),    F(t) = 1 - (1 - t^a)^b

What makes everything here exact and stable is the clock of the base hazard,

    tau(t) = int_0^t r = -log(1 - t^a)

On that clock the insertion time is exponential with rate `b_insert`, and the time
from there to the unmasking is exponential with rate `b_unmask`, independently. The
shape `a` only sets the speed of the clock; which token comes first is an
exponential race and does not depend on it.

Functions are elementwise and broadcast, unless they say otherwise. Shapes and rates
are positive. For `0 <= t <= 1` values are finite, float32 or wider; so are gradients,
those in t wherever the density is finite.
"""

import chex
import jax
import jax.numpy as jnp

from insertion_jax.core import categorical

# The clock at t = 1, where it is infinite.
_END = 1e9
# Masked and clean states are as probable before this clock time as at it, so that
# their logarithm at t = 0 is finite.
_START = 1e-30
# B_2k / (2k)! for k = 1..7, B the Bernoulli numbers.
_BERNOULLI = (
    1 / 12,
    -1 / 720,
    1 / 30240,
    -1 / 1209600,
    1 / 47900160,
    -691 / 1307674368000,
    1 / 74724249600,
)


def cumulative_base_hazard(t: chex.Numeric, a: chex.Numeric) -> chex.Array:
    """The clock `tau(t) = -log(1 - t^a)`: 0 at 0, and 1e9 for infinity at 1."""
    t, a = map(categorical.widen, (t, a))
    inside = (t >= jnp.finfo(t.dtype).tiny) & (t < 1)
    tau = -jax.nn.log1mexp(-a * _log(jnp.where(inside, t, 0.5)))
    return jnp.where(inside, tau, jnp.where(t < 1, 0.0, _END))


def time_at(tau: chex.Numeric, a: chex.Numeric) -> chex.Array:
    """The time in [0, 1] at which the clock shows `tau >= 0`."""
    tau, a = map(categorical.widen, (tau, a))
    passed = -jnp.expm1(-tau)
    positive = passed > 0
    # The power's slope is infinite at 0.
    return jnp.where(positive, jnp.where(positive, passed, 1.0) ** (1 / a), 0.0)


def exponential_quantile(u: chex.Numeric) -> chex.Array:
    """What an exponential of rate 1 stays below with probability u; 1e9 for u = 1."""
    u = categorical.widen(u)
    below = u < 1
    return jnp.where(below, -jnp.log1p(-jnp.where(below, u, 0.0)), _END)


def base_hazard(t: chex.Numeric, a: chex.Numeric) -> chex.Array:
    """The hazard `r(t) = a t^(a-1) / (1 - t^a)` of rate 1.

    The inverse of the rounding error of floats stands for infinity: at 1, and for
    `a < 1` at 0.
    """
    t, a = map(categorical.widen, (t, a))
    dtype = jnp.result_type(t, a)
    infinity = 1 / jnp.finfo(dtype).epsneg
    inside = (t >= jnp.finfo(dtype).tiny) & (t < 1)
    log_t = _log(jnp.where(inside, t, 0.5))
    rate = a * jnp.exp((a - 1) * log_t) / -jnp.expm1(a * log_t)
    at_start = jnp.where(a > 1, 0.0, jnp.where(a < 1, infinity, 1.0))
    return jnp.where(inside, rate, jnp.where(t < 1, at_start, infinity))


def hazard(t: chex.Numeric, a: chex.Numeric, b: chex.Numeric) -> chex.Array:
    """The hazard `b r(t)`, events per unit of time among what is still waiting."""
    return categorical.widen(b) * base_hazard(t, a)


def cdf(t: chex.Numeric, a: chex.Numeric, b: chex.Numeric) -> chex.Array:
    """`F(t) = 1 - (1 - t^a)^b`, the probability of an event by time t."""
    return -jnp.expm1(-categorical.widen(b) * cumulative_base_hazard(t, a))


def inverse_cdf(u: chex.Numeric, a: chex.Numeric, b: chex.Numeric) -> chex.Array:
    """The time by which an event has come with probability `u`, in [0, 1]."""
    return time_at(exponential_quantile(u) / categorical.widen(b), a)


def truncated_inverse_cdf(
    u: chex.Numeric, lower: chex.Numeric, a: chex.Numeric, b: chex.Numeric
) -> chex.Array:
    """Quantiles of the law of a time that is known to come after `lower`.

    Equals `inverse_cdf(u (1 - F(lower)) + F(lower))` without its loss of digits where
    `F(lower)` is close to 1: an exponential law has no memory, so the wait on the
    clock is the same from wherever it starts.

    Args:
      u: probabilities.
      lower: times in [0, 1].
      a: shape.
      b: rates.

    Returns:
      Times in `[lower, 1]`.
    """
    wait = exponential_quantile(u) / categorical.widen(b)
    return jnp.maximum(time_at(cumulative_base_hazard(lower, a) + wait, a), lower)


def mean(a: chex.Numeric, b: chex.Numeric) -> chex.Array:
    """The mean `b Beta(1 + 1/a, b)` of the law."""
    a, b = map(categorical.widen, (a, b))
    return b * jnp.exp(jax.scipy.special.betaln(1 + 1 / a, b))


def sample(
    key: chex.PRNGKey,
    a: chex.Numeric,
    b_insert: chex.Array,
    b_unmask: chex.Array,
) -> tuple[chex.Array, chex.Array]:
    """Draws the insertion and the unmasking time of every token.

    Args:
      key: typed PRNG key.
      a: shape, common to all.
      b_insert: float[L], rates of insertion.
      b_unmask: float[L] or float[], rates of unmasking.

    Returns:
      `(insert_time, unmask_time)`, two float[L] with
      `0 <= insert_time <= unmask_time <= 1`. A time is 1 where it is closer to 1 than
      floats can tell; then the event does not come before the end.
    """
    b_insert, b_unmask = map(categorical.widen, (b_insert, b_unmask))
    shape = jnp.broadcast_shapes(jnp.shape(b_insert), jnp.shape(b_unmask))
    dtype = jnp.result_type(b_insert, b_unmask)
    waits = jax.random.exponential(key, (2, *shape), dtype)
    inserted = waits[0] / b_insert
    insert_time = time_at(inserted, a)
    unmask_time = time_at(inserted + waits[1] / b_unmask, a)
    # A power function need not be monotone in its last bit.
    return insert_time, jnp.maximum(insert_time, unmask_time)


def state_log_probs(
    t: chex.Numeric, a: chex.Numeric, b_insert: chex.Numeric, b_unmask: chex.Numeric
) -> tuple[chex.Array, chex.Array, chex.Array]:
    """Log-probabilities of the three states of a token at time t.

    With `S = 1 - t^a`:

        P(absent) = S^b_insert
        P(mask)   = b_insert (S^b_unmask - S^b_insert) / (b_insert - b_unmask)
        P(clean)  = 1 - P(absent) - P(mask)

    Neither quotient nor difference is computed as it stands. All is expressed in
    divided differences of the exponential function (McCurdy, Ng & Parlett, 1984),
    which are smooth through equal rates, and small probabilities keep their digits.

    Args:
      t: times in [0, 1].
      a: shape.
      b_insert: rates of insertion.
      b_unmask: rates of unmasking.

    Returns:
      `(log_drop, log_mask, log_clean)` in nats, of the broadcast shape. Impossible
      states (at t = 0 and t = 1) have large negative values instead of `-inf`.
    """
    tau = cumulative_base_hazard(t, a)
    tau, b_insert, b_unmask = jnp.broadcast_arrays(
        tau, categorical.widen(b_insert), categorical.widen(b_unmask)
    )
    started = jnp.maximum(tau, _START)
    return (
        -b_insert * tau,
        _log_mask(started, b_insert, b_unmask),
        _log_clean(started, b_insert, b_unmask),
    )


def kl_to_uniform(a: chex.Numeric, b: chex.Numeric) -> chex.Array:
    """KL divergence of the law from the uniform law on [0, 1], in nats.

    `log(a b) + (1 - 1/a) (psi(1) - psi(b + 1)) - (b - 1) / b`, psi the digamma function;
    0 at a = b = 1.
    """
    a, b = map(categorical.widen, (a, b))
    difference = -jnp.euler_gamma - jax.scipy.special.digamma(b + 1)
    return jnp.log(a * b) + (1 - 1 / a) * difference - (b - 1) / b


def boundary_penalty(
    a: chex.Numeric,
    b: chex.Numeric,
    epsilon: float = 0.01,
    delta: float = 0.01,
) -> chex.Array:
    """Penalty on laws that pile up at the ends of [0, 1], elementwise.

    `relu(F(epsilon) - delta)^2 + relu(1 - F(1 - epsilon) - delta)^2`
    (arXiv 2602.18695, appendix).

    Args:
      a: shape.
      b: rates.
      epsilon: width of the ends.
      delta: the probability that may lie in either end.

    Returns:
      float, of the broadcast shape; zero for the uniform law if `epsilon <= delta`.
    """
    early = cdf(epsilon, a, b)
    late = 1 - cdf(1 - epsilon, a, b)
    return jax.nn.relu(early - delta) ** 2 + jax.nn.relu(late - delta) ** 2


def mean_penalty(
    a: chex.Numeric, b: chex.Array, mask: chex.Array, grid: chex.Array
) -> chex.Array:
    """Penalty on a mean law, over the tokens, that is not uniform.

    `sum_g (mean_i F_i(t_g) - t_g)^2`: a mean over tokens, a SUM over the grid, as in
    the authors' implementation of arXiv 2602.18695.

    Args:
      a: shape.
      b: float[L], rates.
      mask: bool[L], the tokens that count.
      grid: float[G], times in [0, 1].

    Returns:
      float[]; 0 where no token counts.
    """
    chex.assert_rank([b, mask, grid], 1)
    chex.assert_equal_shape([b, mask])
    count = jnp.sum(mask)
    laws = jnp.where(mask, cdf(grid[:, None], a, b), 0.0)
    gap = jnp.sum(laws, axis=1) / jnp.maximum(count, 1) - grid
    return jnp.where(count > 0, jnp.sum(gap**2), 0.0)


def _log(t: chex.Array) -> chex.Array:
    """log(t) for 0 < t < 1, with all digits near 1 on every backend."""
    near = t > 0.5
    return jnp.where(near, jnp.log1p(jnp.where(near, t - 1, 0.0)), jnp.log(t))


# In what follows x = b_insert tau, y = b_unmask tau, and [..] is the divided
# difference of exp:
#
#     P(mask)  = x [-x, -y]         [-x, -y]    = int exp(-x u - y (1-u)) du
#     P(clean) = x y [0, -x, -y]    [0, -x, -y] = int int_{u+v<1} exp(-x u - y v) du dv
#
# Derivatives are divided differences too. The rules below have them as sums and
# products of positive terms, where differentiating the values would cancel digits.


@jax.custom_jvp
def _log_mask(tau, b_insert, b_unmask):
    """log P(mask), from three arrays of one shape."""
    least = jnp.minimum(b_insert, b_unmask)
    decay = _decay(jnp.abs(b_insert - b_unmask) * tau)
    return jnp.log(b_insert) + jnp.log(tau) - least * tau + jnp.log(decay)


@_log_mask.defjvp
def _log_mask_jvp(primals, tangents):
    tau, b_insert, b_unmask = primals
    d_tau, d_insert, d_unmask = tangents
    # The mean shares of the clock time before and after the insertion.
    before = _mean_share((b_insert - b_unmask) * tau)
    after = _mean_share((b_unmask - b_insert) * tau)
    tangent = (
        d_insert * (1 / b_insert - tau * before)
        - d_unmask * (tau * after)
        + d_tau * (1 / tau - b_insert * before - b_unmask * after)
    )
    return _log_mask(*primals), tangent


@jax.custom_jvp
def _log_clean(tau, b_insert, b_unmask):
    """log P(clean), from three arrays of one shape."""
    return _log_clean_and_slope(tau, b_insert, b_unmask)[0]


@_log_clean.defjvp
def _log_clean_jvp(primals, tangents):
    tau, b_insert, b_unmask = primals
    d_tau, d_insert, d_unmask = tangents
    log_clean, slope = _log_clean_and_slope(*primals)
    before = _mean_share((b_insert - b_unmask) * tau)
    after = _mean_share((b_unmask - b_insert) * tau)
    tangent = slope * (
        d_insert * (before / b_insert) + d_unmask * (after / b_unmask) + d_tau / tau
    )
    return log_clean, tangent


def _log_clean_and_slope(tau, b_insert, b_unmask):
    """log P(clean) and its derivative `[-x, -y] / [0, -x, -y]` in log(tau)."""
    most = jnp.maximum(b_insert, b_unmask) * tau
    least = jnp.minimum(b_insert, b_unmask) * tau
    only_one = jnp.exp(-least) * _decay(jnp.abs(b_insert - b_unmask) * tau)
    # 2 [0, -x, -y] = 2 sum_n (-1)^n h_n(x, y) / (n + 2)!, h_n the complete
    # homogeneous symmetric polynomial; 18 terms are enough for float64.
    small = most < 1.0
    x, y = (jnp.where(small, value, 0.0) for value in (most, least))
    polynomial, power, factor, series = 1.0, 1.0, 1.0, 1.0
    for n in range(1, 19):
        power = power * y
        polynomial = x * polynomial + power
        factor = -factor / (n + 2)
        series = series + factor * polynomial
    log_scale = jnp.log(b_insert) + jnp.log(b_unmask) + 2 * jnp.log(tau)
    # P(clean) = P(the slower has come) - P(only the slower has come). More than a
    # third of the first is left where the series is not used.
    clean = jnp.where(small, 1.0, -jnp.expm1(-least) - least * only_one)
    log_clean = jnp.where(small, log_scale + jnp.log(series / 2), jnp.log(clean))
    slope = jnp.where(small, 2 * only_one / series, most * (least * only_one) / clean)
    return jnp.minimum(log_clean, 0.0), slope


def _decay(w):
    """`(1 - exp(-w)) / w` for w >= 0, the mean of `exp(-w u)` for u in [0, 1]."""
    positive = w > 0
    safe = jnp.where(positive, w, 1.0)
    return jnp.where(positive, -jnp.expm1(-safe) / safe, 1.0)


def _mean_share(z):
    """`1/z - 1/(exp(z) - 1)`, the mean of u in [0, 1] of density ~ exp(-z u)."""
    w = jnp.abs(z)
    small = w < 0.5
    # 1/2 - sum_k B_2k z^(2k-1) / (2k)!, B the Bernoulli numbers.
    series = jnp.zeros_like(w)
    square = jnp.where(small, w * w, 0.0)
    for coefficient in reversed(_BERNOULLI):
        series = series * square + coefficient
    far = jnp.where(small, 1.0, w)
    direct = 1 / far - jnp.exp(-far) / -jnp.expm1(-far)
    share = jnp.where(small, 0.5 - w * series, direct)
    return jnp.where(z < 0, 1 - share, share)
