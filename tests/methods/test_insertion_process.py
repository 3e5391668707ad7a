"""The estimators against enumeration, in float64."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
from tables import CASES, Case

from insertion_jax.core import estimators, exact, permutations, policies, trajectories
from insertion_jax.methods import insertion_process

TABLES = tables.random_tables(2)
ORDER_LOGITS = np.array([0.7, -0.9, 1.4, 0.1])


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def _options(anchored, closed, eos_id):
    return {"anchored": anchored, "closed": closed, "eos_id": eos_id}


def _objective(params, arrays, entropy_weight, perms, eos_id):
    """Exact ELBO plus a multiple of the posterior's entropy."""
    tables_, order_logits = params
    tokens, length, *gaps = arrays
    value = exact.elbo(
        tables.policy_of(tables_),
        order_logits,
        tokens,
        length,
        **_options(*gaps, eos_id),
    )
    perms, real = perms
    log_q = _log_q(order_logits, arrays, perms)
    entropy = -jnp.sum(jnp.where(real, jnp.exp(log_q) * log_q, 0.0))
    return value + entropy_weight * entropy


def _log_q(order_logits, arrays, perms):
    _, length, anchored, _ = arrays
    missing = (jnp.arange(tables.SIZE) < length) & ~anchored
    one = permutations.plackett_luce_log_prob
    return jax.vmap(one, (None, 0, None))(order_logits, perms, missing)


def _expected(
    params,
    arrays,
    entropy_weight,
    perms,
    steps,
    num_samples,
    eos_id,
    learned=True,
    surrogate=insertion_process.surrogate_from_orders,
):
    """Expectation of surrogate and info over all orders and steps.

    The weights are constants, so that the gradient of this expectation is the
    expectation of the surrogate's gradient.
    """
    tables_, order_logits = params
    tokens, length, *gaps = arrays
    perms, real = perms
    steps, step_weight = steps
    index = np.array([*itertools.product(range(len(perms)), repeat=num_samples)])
    log_q = jax.lax.stop_gradient(_log_q(order_logits, arrays, perms))
    weight = jnp.prod(jnp.where(real, jnp.exp(log_q), 0.0)[index], axis=1)

    def one(index, steps):
        return surrogate(
            tables.policy_of(tables_),
            order_logits,
            tokens,
            length,
            perms[index],
            steps,
            learned=learned,
            entropy_weight=entropy_weight,
            **_options(*gaps, eos_id),
        )

    values = jax.vmap(jax.vmap(one, (None, 0)), (0, None))(index, steps)
    average = lambda x: jnp.einsum("is,i,s", x, weight, step_weight)
    return jax.tree.map(average, values)


# Shapes are padded so that cases share their compilations.
_exact_gradient = tables.jit(jax.value_and_grad(_objective), static_argnums=4)
_expected_gradient = tables.jit(
    jax.grad(_expected, has_aux=True),
    static_argnames=("num_samples", "eos_id", "learned", "surrogate"),
)


def _padded(rows, size):
    """Rows repeated up to a number, and which are no repeats."""
    index = np.arange(size)
    return rows[index % len(rows)], index < len(rows)


def _all_perms(case, num_samples):
    perms = tables.orders(case.missing)
    return _padded(perms, {1: 24, 2: 24, 3: 6}[num_samples])


def _all_steps(case, num_steps):
    """Every outcome of the systematic draw with its probability."""
    count = sum(case.missing) + 1
    offsets = (np.arange(count * num_steps) + 0.5) / (count * num_steps)
    spread = (offsets[:, None] + np.arange(num_steps)) / num_steps
    steps, real = _padded(np.floor(spread * count).astype(np.int32), 12)
    return steps, real / (count * num_steps)


def _gradients(case, num_samples, num_steps=1, entropy_weight=0.0, **options):
    """`(of the expected surrogate, expected info, exact, exact value)`."""
    params = TABLES, ORDER_LOGITS
    perms = _all_perms(case, num_samples)
    steps = _all_steps(case, num_steps)
    weight = np.float64(entropy_weight)
    made, info = _expected_gradient(
        params,
        case.arrays,
        weight,
        perms,
        steps,
        num_samples=num_samples,
        eos_id=case.eos_id,
        **options,
    )
    perms = _padded(tables.orders(case.missing), 24)
    value, right = _exact_gradient(params, case.arrays, weight, perms, case.eos_id)
    return made, info, right, value


def _max_difference(a, b):
    return max(
        np.abs(np.subtract(x, y)).max()
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.mark.parametrize(
    ("name", "num_samples", "options"),
    [
        ("policy", 2, {}),
        ("policy-empty", 2, {}),
        ("eos", 2, {"entropy_weight": 0.7}),
        ("policy-short", 3, {"num_steps": 2}),
        ("policy-anchored", 3, {"num_steps": 2, "entropy_weight": -0.4}),
        ("policy-closed", 3, {"num_steps": 2, "entropy_weight": 0.3}),
        ("policy-all-anchored", 3, {"num_steps": 2}),
        ("policy-closed", 2, {"num_steps": 3}),
        ("eos-short", 3, {}),
        ("eos-closed", 3, {}),
        ("eos-empty", 3, {"entropy_weight": 0.5}),
    ],
)
def test_expected_gradient_is_that_of_the_elbo(name, num_samples, options):
    case = CASES[name]
    made, info, right, elbo = _gradients(case, num_samples, **options)
    assert _max_difference(made, right) < 1e-9
    if sum(case.missing) > 1:
        assert np.abs(right[1]).max() > 1e-2  # there is something to get wrong
    # info is that of the ELBO whatever the weight of the entropy.
    entropy = info.order_entropy * options.get("entropy_weight", 0.0)
    np.testing.assert_allclose(info.elbo + entropy, elbo, rtol=0, atol=1e-9)
    terms = info.slot + info.token + info.stop + info.order_entropy
    np.testing.assert_allclose(info.elbo, terms, rtol=1e-12)


@pytest.mark.parametrize("num_samples", [1, 2])
def test_without_a_learned_order_the_policy_gradient_is_right(num_samples):
    case = CASES["policy-short"]
    made, info, right, elbo = _gradients(case, num_samples, learned=False)
    assert _max_difference(made[0], right[0]) < 1e-9
    np.testing.assert_allclose(info.elbo, elbo, rtol=0, atol=1e-9)
    # Control: without the score term the order's gradient is wrong.
    assert np.abs(made[1] - right[1]).max() > 1e-2


def test_info_terms_are_those_of_enumeration():
    case = CASES["policy-closed"]
    _, info, _, _ = _gradients(case, 3, num_steps=2)
    slot = token = entropy = 0.0
    for perm in tables.orders(case.missing):
        picks = perm[: sum(case.missing)]
        log_q = tables.order_log_prob(ORDER_LOGITS, picks.tolist(), case.missing)
        included = list(case.anchored)
        for position in picks:
            probs = tables.action_probs(TABLES, case.state(included), case.closed)
            z = sum(included[:position])
            here = sum(p for a, p in probs.items() if a != "stop" and a[0] == z)
            slot += np.exp(log_q) * np.log(here)
            token += np.exp(log_q) * np.log(probs[z, case.tokens[position]] / here)
            included[position] = True
        entropy -= np.exp(log_q) * log_q
    stop = np.log(tables.action_probs(TABLES, case.target, case.closed)["stop"])
    expected = slot, token, stop, entropy
    made = info.slot, info.token, info.stop, info.order_entropy
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-10)


def _broken(mistake):
    """The surrogate with one mistake."""

    def surrogate(policy, order_logits, tokens, length, perms, steps, **options):
        del options["learned"], options["entropy_weight"]
        anchored = options["anchored"]
        missing = trajectories.missing_positions(4, length, anchored)

        def one(perm):
            left = missing & ~trajectories.prefix_mask(perm, steps[0])
            read = policies.reader(policy, tokens, length, perm, **options)
            terms = insertion_process.step_terms(read(steps[0]), order_logits, left)
            log_q = permutations.plackett_luce_log_prob(
                order_logits, perm, missing, steps[0]
            )
            return sum(terms), log_q

        values, log_q = jax.vmap(one)(perms)
        score = estimators.leave_one_out(log_q, values)
        if mistake == "baseline with the sample itself":
            score = jnp.mean(log_q * jax.lax.stop_gradient(values - values.mean()))
        count = length if mistake == "scale by length" else missing.sum()
        return (count + 1) * (score + values.mean()), values.mean()

    return surrogate


@pytest.mark.parametrize(
    "mistake", [None, "baseline with the sample itself", "scale by length"]
)
def test_controls_mistakes_show(mistake):
    made, _, right, _ = _gradients(
        CASES["policy-anchored"], 3, surrogate=_broken(mistake)
    )
    if mistake is None:
        assert _max_difference(made, right) < 1e-9
    else:
        assert _max_difference(made, right) > 1e-2


@pytest.mark.parametrize("num_steps", range(1, 5))
def test_systematic_steps_are_uniform(monkeypatch, num_steps):
    def draw(offset, count):
        with monkeypatch.context() as patch:
            patch.setattr(jax.random, "uniform", lambda key: offset)
            return insertion_process._spread_steps(None, count, num_steps)

    offsets = (np.arange(60) + 0.5) / 60
    run = tables.jit(jax.vmap(draw, (0, None)))
    for count in range(1, 6):
        rows = np.asarray(run(offsets, count))
        # One of the K, chosen at random, is uniform.
        times = np.bincount(rows.ravel(), minlength=count)
        np.testing.assert_array_equal(times, 60 * num_steps // count)
        for row in rows:  # evenly spread, and in order
            times = np.bincount(row, minlength=count)
            assert times.max() - times.min() <= 1
            assert (np.diff(row) >= 0).all()


@pytest.mark.parametrize("offset", [0.0, 0.999999999, 1.0])
def test_systematic_steps_stay_in_range(monkeypatch, offset):
    monkeypatch.setattr(jax.random, "uniform", lambda key: jnp.float32(offset))
    for num_steps in (1, 2, 3):
        steps = insertion_process._spread_steps(None, 100, num_steps)
        parts = 100 * np.arange(num_steps + 1) / num_steps
        assert (steps >= np.floor(parts[:-1])).all()
        assert (steps < np.ceil(parts[1:])).all()


NUM_DRAWS = 20_000


@pytest.fixture(scope="module")
def monte_carlo():
    """Draws of the public surrogate's gradient and value: `(grads, elbos, right)`."""
    case = CASES["policy-short"]

    def draw(order_logits, key, learned):
        surrogate, info = insertion_process.elbo_surrogate(
            key,
            tables.policy_of(TABLES),
            order_logits,
            jnp.asarray(case.tokens),
            case.length,
            num_steps=2,
            learned=learned,
        )
        return surrogate, info.elbo

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(3), (2, NUM_DRAWS))
        draws = tables.jit(
            jax.vmap(jax.grad(draw, has_aux=True), (None, 0, None)),
            static_argnums=2,
        )
        _, _, (_, grad), elbo = _gradients(case, 3, num_steps=2)
        made = {
            learned: jax.tree.map(np.asarray, draws(ORDER_LOGITS, keys[row], learned))
            for row, learned in enumerate((True, False))
        }
    return made, elbo, np.asarray(grad)


def _deviation(draws, right):
    """Largest distance of the mean from the right value, in standard errors."""
    error = draws.std(axis=0) / np.sqrt(len(draws))
    return np.max(np.abs(draws.mean(axis=0) - right) / np.maximum(error, 1e-12))


def test_public_surrogate_is_right_on_average(monte_carlo):
    made, elbo, grad = monte_carlo
    grads, elbos = made[True]
    assert _deviation(elbos, elbo) < 4.5
    assert _deviation(grads[:, :3], grad[:3]) < 4.5
    assert not grads[:, 3].any()  # padding


def test_control_the_score_term_matters(monte_carlo):
    made, _, grad = monte_carlo
    assert _deviation(made[False][0][:, :3], grad[:3]) > 10


@functools.partial(tables.jit, static_argnames="eos_id")
def _trajectories(perms, arrays, eos_id):
    tokens, length, *gaps = arrays
    policy, options = tables.policy_of(TABLES), _options(*gaps, eos_id)
    log_probs = jax.vmap(
        lambda perm: insertion_process.trajectory_log_prob(
            policy, tokens, length, perm, **options
        )
    )(perms)
    return log_probs, exact.log_likelihood(policy, tokens, length, **options)


@pytest.mark.parametrize("name", CASES)
def test_trajectories_sum_to_the_likelihood(name):
    case = CASES[name]
    perms, real = _padded(tables.orders(case.missing), 24)
    made, total = _trajectories(perms, case.arrays, case.eos_id)
    expected = [tables.trajectory_log_prob(TABLES, case, perm) for perm in perms]
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-10)
    by_sum = np.log(np.exp(made)[real].sum())
    np.testing.assert_allclose(by_sum, total, rtol=0, atol=1e-10)


def test_log_weights_are_those_of_orders_drawn_from_the_posterior():
    case = CASES["policy-anchored"]
    perms = tables.orders(case.missing)
    log_q = np.array(
        [
            tables.order_log_prob(ORDER_LOGITS, perm[:3].tolist(), case.missing)
            for perm in perms
        ]
    )
    log_p = [tables.trajectory_log_prob(TABLES, case, perm) for perm in perms]
    run = tables.jit(
        lambda key: insertion_process.log_weights(
            key,
            tables.policy_of(TABLES),
            jnp.asarray(ORDER_LOGITS),
            jnp.asarray(case.tokens),
            case.length,
            num_samples=5000,
            **case.options,
        )
    )
    made = np.asarray(run(jax.random.key(4)))
    distance = np.abs(made[:, None] - (log_p - log_q))
    assert distance.min(axis=1).max() < 1e-10
    counts = np.bincount(distance.argmin(axis=1), minlength=len(perms))
    assert tables.p_value(counts, np.exp(log_q)) > 1e-4
    assert tables.p_value(counts, np.exp(1.2 * log_q)) < 1e-6  # control


def test_importance_weighted_bound_rises_to_the_likelihood():
    case = CASES["policy"]
    args = jnp.asarray(ORDER_LOGITS), jnp.asarray(case.tokens), case.length

    def bounds(key, count):
        return insertion_process.importance_weighted_bound(
            key, tables.policy_of(TABLES), *args, num_samples=count
        )

    run = tables.jit(jax.vmap(bounds, (0, None)), static_argnums=1)
    draws = {
        count: np.asarray(run(jax.random.split(jax.random.key(5), number), count))
        for count, number in {1: 8000, 4: 2000, 64: 500}.items()
    }
    log_p = _trajectories(tables.orders(case.missing), case.arrays, None)[1]
    elbo = _gradients(case, 2)[3]
    assert _deviation(draws[1], elbo) < 4.5
    assert _deviation(np.exp(draws[1] - log_p), 1.0) < 4.5
    means = [draws[count].mean() for count in (1, 4, 64)]
    assert elbo + 0.1 < means[1] < means[2]
    assert means[2] < log_p + 0.01
    assert log_p - means[2] < 0.25 * (log_p - elbo)


@pytest.mark.parametrize("size", [4, 128])
def test_left_to_right_logits_are_certain(size):
    logits = insertion_process.fixed_order_logits("left_to_right", size)
    mask = jnp.arange(size) < size - 1
    keys = jax.random.split(jax.random.key(6), 100)
    draw = jax.vmap(permutations.plackett_luce, (0, None, None))
    perms = np.asarray(draw(keys, logits, mask))
    np.testing.assert_array_equal(perms, np.tile(np.arange(size), (100, 1)))
    log_prob = permutations.plackett_luce_log_prob(logits, perms[0], mask)
    assert log_prob == 0.0


def test_left_to_right_elbo_is_the_one_trajectory():
    case = CASES["policy"]

    def both(key):
        tokens = jnp.asarray(case.tokens)
        logits = insertion_process.fixed_order_logits("left_to_right", 4)
        policy = tables.policy_of(TABLES)
        _, info = insertion_process.elbo_surrogate(
            key, policy, logits, tokens, 4, num_samples=1, num_steps=5, learned=False
        )
        return info, exact.elbo(policy, logits, tokens, 4)

    info, elbo = tables.jit(both)(jax.random.key(7))
    expected = tables.trajectory_log_prob(TABLES, case, np.arange(4))
    np.testing.assert_allclose([info.elbo, elbo], expected, rtol=0, atol=1e-9)
    assert info.order_entropy == 0.0


def test_uniform_logits_have_the_uniform_entropy():
    logits = insertion_process.fixed_order_logits("uniform", 4)
    perms = tables.orders((True,) * 4)
    log_q = _log_q(logits, Case((0, 0, 0, 0), 4).arrays, perms)
    np.testing.assert_allclose(log_q, -np.log(24.0), rtol=1e-6)


def test_errors():
    with pytest.raises(ValueError, match="'uniform' or 'left_to_right', got 'other'"):
        insertion_process.fixed_order_logits("other", 4)
    with pytest.raises(ValueError, match="num_samples of at least 2, got 1"):
        insertion_process.elbo_surrogate(
            jax.random.key(0), None, jnp.zeros(4), jnp.zeros(4, int), 4, num_samples=1
        )


def test_numpy_arguments_are_fine():
    # Constants of a traced function, as in a model with one fixed task.
    case = CASES["policy-closed"]
    options = {"anchored": case.arrays[2], "closed": case.arrays[3]}
    args = tables.policy_of(TABLES), case.arrays[0], case.length
    perm = tables.orders(case.missing)[0]
    made = tables.jit(
        lambda: insertion_process.trajectory_log_prob(*args, perm, **options)
    )()
    expected = tables.trajectory_log_prob(TABLES, case, perm)
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-10)
    run = lambda key: insertion_process.elbo_surrogate(
        key, args[0], ORDER_LOGITS, *args[1:], **options
    )
    assert np.isfinite(tables.jit(run)(jax.random.key(0))[1].elbo)


def test_dropout_keys_differ_between_passes():
    # A policy that is noise alone: with keys, values differ between orders.
    case = CASES["policy-short"]

    @tables.jit
    def info(noise_key, dropout_key):
        plain = tables.policy_of(TABLES)

        def policy(canvas, key=noise_key):
            logits = plain(canvas)
            return logits._replace(stop=jax.random.normal(key))

        return insertion_process.surrogate_from_orders(
            policy,
            jnp.zeros(4),
            jnp.asarray(case.tokens),
            case.length,
            jnp.asarray([[0, 1, 2, 3], [2, 1, 0, 3]]),
            jnp.asarray([3]),
            dropout_key=dropout_key,
        )[1]

    keys = jax.random.split(jax.random.key(8), 3)
    assert info(keys[0], None).value_variance < 1e-20
    assert info(keys[1], keys[2]).value_variance > 1e-6
