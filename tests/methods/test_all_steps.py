"""The estimator for policies that know the order, by enumeration, in float64.

The exact ELBO is the sum over orders of `q(perm) (log p(x, perm) - log q(perm))`.
"""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
from tables import CASES

from insertion_jax.core import estimators, permutations, policies, trajectories
from insertion_jax.methods import insertion_process
from insertion_jax.types import TrajectoryPolicy

TABLES = tables.random_histories(2)
ORDER_LOGITS = np.array([0.7, -0.9, 1.4, 0.1])
COUNTS = {1: 24, 2: 24, 3: 6}  # orders that fit, by how many are drawn


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def _options(arrays, eos_id):
    return {"anchored": arrays[2], "closed": arrays[3], "eos_id": eos_id}


def _orders(case, count):
    """Orders repeated up to a number, so that cases share their compilations."""
    perms = tables.orders(case.missing)
    index = np.arange(count)
    return perms[index % len(perms)], index < len(perms)


def _log_q(order_logits, arrays, perms):
    missing = trajectories.missing_positions(tables.SIZE, arrays[1], arrays[2])
    one = permutations.plackett_luce_log_prob
    return jax.vmap(one, (None, 0, None))(order_logits, perms, missing)


def _objective(params, arrays, entropy_weight, orders, eos_id):
    """The exact ELBO plus a multiple of the posterior's entropy."""
    tables_, order_logits = params
    (perms, real), policy = orders, tables.trajectory_policy_of(tables_)
    log_p = jax.vmap(
        lambda perm: insertion_process.trajectory_log_prob(
            policy, *arrays[:2], perm, **_options(arrays, eos_id)
        )
    )(perms)
    log_q = _log_q(order_logits, arrays, perms)
    value = jnp.exp(log_q) * (log_p - (1.0 + entropy_weight) * log_q)
    return jnp.sum(jnp.where(real, value, 0.0))


def _expected(
    params,
    arrays,
    entropy_weight,
    orders,
    num_samples,
    eos_id,
    all_steps,
    surrogate=insertion_process.surrogate_from_orders,
):
    """Expectation of surrogate and info over all tuples of orders and all steps."""
    tables_, order_logits = params
    perms, real = orders
    policy = tables.trajectory_policy_of(tables_)
    index = np.array([*itertools.product(range(len(perms)), repeat=num_samples)])
    # A constant, so that the gradient of the expectation is the expected gradient.
    log_q = jax.lax.stop_gradient(_log_q(order_logits, arrays, perms))
    weight = jnp.prod(jnp.where(real, jnp.exp(log_q), 0.0)[index], axis=1)

    def one(index, step):
        return surrogate(
            policy,
            order_logits,
            *arrays[:2],
            perms[index],
            None if all_steps else step[None],
            entropy_weight=entropy_weight,
            **_options(arrays, eos_id),
        )

    steps = jnp.arange(1 if all_steps else tables.SIZE + 1)
    count = trajectories.missing_positions(tables.SIZE, arrays[1], arrays[2]).sum()
    legal = (steps <= count) / (1 if all_steps else count + 1)
    steps = jnp.minimum(steps, count)
    values = jax.vmap(jax.vmap(one, (None, 0)), (0, None))(index, steps)
    average = lambda x: jnp.einsum("is,i,s", x, weight, legal)
    return jax.tree.map(average, values)


_exact_gradient = tables.jit(jax.value_and_grad(_objective), static_argnums=4)
_expected_gradient = tables.jit(
    jax.grad(_expected, has_aux=True),
    static_argnames=("num_samples", "eos_id", "all_steps", "surrogate"),
)


def _gradients(case, num_samples, all_steps=True, entropy_weight=0.0, **options):
    """`(of the expected surrogate, expected info, exact, exact value)`."""
    args = (TABLES, ORDER_LOGITS), case.arrays, np.float64(entropy_weight)
    made, info = _expected_gradient(
        *args,
        _orders(case, COUNTS[num_samples]),
        num_samples=num_samples,
        eos_id=case.eos_id,
        all_steps=all_steps,
        **options,
    )
    value, right = _exact_gradient(*args, _orders(case, 24), case.eos_id)
    return made, info, right, value


def _max_difference(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(np.abs(np.subtract(x, y)).max() for x, y in pairs)


def _exact_elbo(case):
    """By NumPy alone."""
    total, count = 0.0, sum(case.missing)
    for perm in tables.orders(case.missing):
        log_q = tables.order_log_prob(ORDER_LOGITS, perm[:count].tolist(), case.missing)
        log_p = tables.trajectory_log_prob(TABLES, case, perm, histories=True)
        total += np.exp(log_q) * (log_p - log_q)
    return total


@pytest.mark.parametrize(
    ("name", "num_samples", "all_steps", "entropy_weight"),
    [
        ("policy", 2, True, 0.0),
        ("policy-empty", 2, True, 0.0),
        ("policy-closed", 2, True, 0.5),
        ("policy-short", 3, True, 0.0),
        ("policy-anchored", 3, True, -0.4),
        ("policy-closed", 3, True, 0.3),
        ("policy-all-anchored", 3, True, 0.0),
        ("eos-short", 3, True, 0.7),
        ("eos-closed", 3, True, 0.0),
        ("eos-empty", 3, True, 0.5),
        ("policy-closed", 3, False, 0.3),
        ("policy-anchored", 3, False, 0.0),
        ("policy-short", 3, False, 0.0),
    ],
)
def test_expected_gradient_is_that_of_the_elbo(
    name, num_samples, all_steps, entropy_weight
):
    case = CASES[name]
    made, info, right, value = _gradients(case, num_samples, all_steps, entropy_weight)
    assert _max_difference(made, right) < 1e-9
    if sum(case.missing) > 1:
        assert np.abs(right[1]).max() > 1e-2  # there is something to get wrong
    elbo = _exact_elbo(case)
    np.testing.assert_allclose(info.elbo, elbo, rtol=0, atol=1e-9)
    by_entropy = elbo + entropy_weight * info.order_entropy
    np.testing.assert_allclose(value, by_entropy, rtol=0, atol=1e-9)


MISTAKES = [
    "none",
    "baseline with the sample itself",
    "score of one pick fewer",
    "repeats of the last step",
]


def _broken(policy, order_logits, tokens, length, perms, _, entropy_weight, **options):
    """The surrogate of all steps, written anew, with the mistake of that number."""
    mistake = [entropy_weight == number for number in range(len(MISTAKES))]
    missing = trajectories.missing_positions(4, length, options["anchored"])
    steps = jnp.minimum(jnp.arange(5), missing.sum())
    real = (jnp.arange(5) <= missing.sum()) | mistake[3]

    def one(perm):
        read = policies.reader(policy, tokens, length, perm, **options)

        def at(step):
            left = missing & ~trajectories.prefix_mask(perm, step)
            terms = insertion_process.step_terms(read(step), order_logits, left)
            log_q = permutations.plackett_luce_log_prob(
                order_logits, perm, missing, step - mistake[2]
            )
            return sum(terms), log_q

        return jax.vmap(at)(steps)

    values, log_q = jax.vmap(one, 0, 1)(perms)  # [steps, M]
    value = values.mean(axis=1)
    centred = jax.lax.stop_gradient(values - value[:, None])
    score = jnp.where(
        mistake[1],
        jnp.mean(log_q * centred, axis=1),
        jax.vmap(estimators.leave_one_out)(log_q, values),
    )
    return jnp.sum(jnp.where(real, score + value, 0.0)), value.sum()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_controls_mistakes_show(mistake):
    case, number = CASES["policy-anchored"], MISTAKES.index(mistake)
    params = TABLES, ORDER_LOGITS
    made, _ = _expected_gradient(
        params,
        case.arrays,
        np.float64(number),
        _orders(case, 6),
        num_samples=3,
        eos_id=None,
        all_steps=True,
        surrogate=_broken,
    )
    right = _exact_gradient(
        params, case.arrays, np.float64(0.0), _orders(case, 24), None
    )[1]
    if mistake == "none":
        assert _max_difference(made, right) < 1e-9
    else:
        assert _max_difference(made, right) > 1e-2


def gradient_draws(num_draws=3000):
    """Gradients in the order's logits, float[N, L], by the number of steps."""
    case = CASES["policy"]
    policy = tables.trajectory_policy_of(TABLES)

    def draw(order_logits, key, num_steps):
        return insertion_process.elbo_surrogate(
            key,
            policy,
            order_logits,
            jnp.asarray(case.tokens),
            case.length,
            num_samples=2,
            num_steps=num_steps,
        )

    run = tables.jit(
        jax.vmap(jax.grad(draw, has_aux=True), (None, 0, None)), static_argnums=2
    )
    keys = jax.random.split(jax.random.key(3), (2, num_draws))
    made = zip((None, 1), keys, strict=True)
    return {k: jax.tree.map(np.asarray, run(ORDER_LOGITS, key, k)) for k, key in made}


def test_all_steps_are_right_on_average_and_less_noisy():
    draws = gradient_draws()
    right = _exact_gradient(
        (TABLES, ORDER_LOGITS),
        CASES["policy"].arrays,
        np.float64(0.0),
        _orders(CASES["policy"], 24),
        None,
    )[1][1]
    for grads, info in draws.values():
        for made, expected in (
            (grads, right),
            (info.elbo, _exact_elbo(CASES["policy"])),
        ):
            error = made.std(axis=0) / np.sqrt(len(made))
            assert np.max(np.abs(made.mean(axis=0) - expected) / error) < 4.5
    variance = {k: grads.var(axis=0).sum() for k, (grads, _) in draws.items()}
    assert variance[None] < 0.7 * variance[1]
    assert draws[None][1].elbo.var() < 0.7 * draws[1][1].elbo.var()


def test_without_missing_positions_there_is_nothing_to_average():
    # One step, that of stopping, whatever the orders.
    case = CASES["policy-all-anchored"]
    made, info, _, value = _gradients(case, 3)
    assert not np.any(made[1])
    np.testing.assert_allclose(info.stop, value, rtol=0, atol=1e-12)
    nothing = info.slot, info.token, info.order_entropy, info.value_variance
    np.testing.assert_allclose(nothing, 0.0, atol=1e-20)


def test_importance_weighted_bound_rises_to_the_likelihood():
    case = CASES["policy"]
    policy = tables.trajectory_policy_of(TABLES)

    @tables.jit
    @jax.vmap
    def draw(key):
        args = policy, jnp.asarray(ORDER_LOGITS), jnp.asarray(case.tokens), case.length
        return (
            insertion_process.log_weights(key, *args, num_samples=64),
            insertion_process.importance_weighted_bound(
                jax.random.clone(key), *args, num_samples=64
            ),
        )

    weights, bound = map(np.asarray, draw(jax.random.split(jax.random.key(5), 300)))
    of_few = lambda count: np.log(np.mean(np.exp(weights.reshape(-1, count)), axis=1))
    np.testing.assert_allclose(bound, of_few(64), rtol=0, atol=1e-10)
    found = tables.outcomes(TABLES, case.start, case.length, histories=True)
    log_p, elbo = np.log(found[case.target, True]), _exact_elbo(case)
    error = lambda x: x.std() / np.sqrt(len(x))
    ones = of_few(1)
    assert abs(ones.mean() - elbo) < 4.5 * error(ones)
    ratio = np.exp(ones - log_p)
    assert abs(ratio.mean() - 1.0) < 4.5 * error(ratio)
    assert elbo < of_few(8).mean() < bound.mean() < log_p + 0.01
    assert log_p - bound.mean() < 0.25 * (log_p - elbo)


def test_the_dropout_key_differs_between_orders():
    # A policy that is noise alone: one draw for all steps of an order.
    @tables.jit
    def info(noise_key, dropout_key):
        plain = tables.trajectory_policy_of(TABLES)

        def encode(tokens, length, perm, anchored=None, key=None):
            # Blind to the order, but for its key.
            states = plain.encode(tokens, length, jnp.arange(4), anchored)
            return states, jax.random.normal(noise_key if key is None else key)

        def read(states, step):
            return plain.read(states[0], step)._replace(stop=states[1])

        return insertion_process.surrogate_from_orders(
            TrajectoryPolicy(encode, read),
            jnp.zeros(4),
            jnp.asarray(CASES["policy-short"].tokens),
            3,
            jnp.asarray([[0, 1, 2, 3], [2, 1, 0, 3]]),
            jnp.asarray([3]),
            dropout_key=dropout_key,
        )[1]

    keys = jax.random.split(jax.random.key(8), 3)
    assert info(keys[0], None).value_variance < 1e-20
    assert info(keys[1], keys[2]).value_variance > 1e-6


@pytest.mark.parametrize("name", ["policy-closed", "eos"])
def test_steps_in_pieces_change_nothing(monkeypatch, name):
    """Long orders are read in pieces, here of two steps of five."""
    case = CASES[name]

    def value(params, key):
        policy = tables.trajectory_policy_of(params[0])
        surrogate, info = insertion_process.elbo_surrogate(
            key,
            policy,
            params[1],
            jnp.array(case.tokens),
            case.length,
            num_steps=None,
            **case.options,
        )
        return surrogate, info.elbo

    def run(key):
        return jax.value_and_grad(value, has_aux=True)((TABLES, ORDER_LOGITS), key)

    def scans():
        traced = jax.make_jaxpr(lambda key: run(key))(jax.random.key(0))
        return str(traced).count("scan[")

    at_once, num_scans = jax.jit(run)(jax.random.key(0)), scans()
    monkeypatch.setattr(insertion_process, "_STEPS_AT_ONCE", 2)
    assert scans() > num_scans
    in_pieces = jax.jit(lambda key: run(key))(jax.random.key(0))
    chex.assert_trees_all_close(in_pieces, at_once, rtol=1e-12, atol=1e-12)
