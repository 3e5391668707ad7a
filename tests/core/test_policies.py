"""Both kinds of policy behind one face, against NumPy oracles, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
from tables import CASES, VOCAB

from insertion_jax.core import exact, policies, trajectories
from insertion_jax.methods import insertion_process
from insertion_jax.types import InsertionLogits, TrajectoryPolicy

TABLES = tables.random_tables(20)
HISTORIES = tables.random_histories(21)
ORDER_LOGITS = np.array([0.4, -0.7, 1.1, 0.3])


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def wrapped(policy):
    """A canvas policy as a trajectory policy, which computes nothing beforehand."""

    def encode(tokens, length, perm, anchored=None, key=None):
        del length, key
        return jnp.asarray(tokens), jnp.asarray(perm), anchored

    def read(states, step):
        tokens, perm, anchored = states
        included = trajectories.prefix_mask(perm, step)
        if anchored is not None:
            included |= anchored
        return policy(trajectories.canvas_of(tokens, included, anchored=anchored))

    return TrajectoryPolicy(encode, read)


def _padded_orders(case):
    """The orders, repeated up to 24, and their number."""
    perms = tables.orders(case.missing)
    return perms[np.arange(24) % len(perms)], len(perms)


@functools.partial(tables.jit, static_argnames="eos_id")
def _both_kinds(arrays, perms, eos_id):
    """The same law as a canvas policy and as a trajectory policy."""
    tokens, length, anchored, closed = arrays
    options = {"anchored": anchored, "closed": closed, "eos_id": eos_id}

    def one(policy):
        def of_order(perm):
            read = policies.reader(policy, tokens, length, perm, **options)
            log_prob = insertion_process.trajectory_log_prob(
                policy, tokens, length, perm, **options
            )
            return jax.vmap(read)(jnp.arange(tables.SIZE + 1)), log_prob

        def surrogate(order_logits, steps):
            return insertion_process.surrogate_from_orders(
                policy, order_logits, tokens, length, perms[:3], steps, **options
            )

        grads = [
            jax.grad(surrogate, has_aux=True)(jnp.asarray(ORDER_LOGITS), steps)
            for steps in (jnp.asarray([1, 0]), None)
        ]
        return jax.vmap(of_order)(perms), grads

    policy = tables.policy_of(TABLES)
    return one(policy), one(wrapped(policy))


@pytest.mark.parametrize("name", CASES)
def test_a_canvas_policy_is_a_trajectory_policy(name):
    case = CASES[name]
    perms, _ = _padded_orders(case)
    canvas, trajectory = _both_kinds(case.arrays, perms, case.eos_id)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-12),
        canvas,
        trajectory,
    )


@pytest.mark.parametrize("name", CASES)
def test_reader_agrees_with_enumeration(name):
    case = CASES[name]
    perms, count = _padded_orders(case)
    (read, log_probs), _ = _both_kinds(case.arrays, perms, case.eos_id)[0]
    expected = [tables.trajectory_log_prob(TABLES, case, perm) for perm in perms]
    np.testing.assert_allclose(log_probs, expected, rtol=0, atol=1e-10)
    for row, perm in enumerate(perms[:count]):
        included = list(case.anchored or (False,) * tables.SIZE)
        for step in range(sum(case.missing) + 1):
            probs = tables.action_probs(
                TABLES, case.state(included), case.closed, case.eos_id
            )
            stop = read.stop[row, step]
            np.testing.assert_allclose(np.exp(stop), probs["stop"], atol=1e-10)
            for position in np.flatnonzero(case.missing):
                if included[position]:
                    continue
                action = sum(included[:position]), case.tokens[position]
                made = read.slot[row, step, position] + read.token[row, step, position]
                np.testing.assert_allclose(np.exp(made), probs[action], atol=1e-10)
            if step < sum(case.missing):
                included[perm[step]] = True


@functools.partial(tables.jit, static_argnames="eos_id")
def _by_history(arrays, perms, eos_id):
    """`log p(x, perm)` of every order, and the likelihood both ways."""
    tokens, length, anchored, closed = arrays
    options = {"anchored": anchored, "closed": closed, "eos_id": eos_id}
    policy = tables.trajectory_policy_of(HISTORIES)

    def encode(tokens, length, perm, anchored=None, key=None):
        del key
        return policies.replay(policy, tokens, length, perm, anchored)

    stepwise = TrajectoryPolicy(encode, lambda x, i: jax.tree.map(lambda y: y[i], x))
    log_probs = jax.vmap(
        lambda perm: insertion_process.trajectory_log_prob(
            policy, tokens, length, perm, **options
        )
    )(perms)
    return log_probs, *(
        exact.log_likelihood(kind, tokens, length, **options)
        for kind in (policy, stepwise)
    )


@pytest.mark.parametrize("name", CASES)
def test_likelihood_of_a_policy_that_knows_the_order(name):
    case = CASES[name]
    perms, count = _padded_orders(case)
    log_probs, *totals = _by_history(case.arrays, perms, case.eos_id)
    expected = [
        tables.trajectory_log_prob(HISTORIES, case, perm, histories=True)
        for perm in perms
    ]
    np.testing.assert_allclose(log_probs, expected, rtol=0, atol=1e-10)
    # Summed over orders, the law is that of all sequences of actions.
    found = tables.outcomes(
        HISTORIES, case.start, case.length, case.closed, case.eos_id, histories=True
    )
    likelihood = np.log(found[case.target, True])
    by_sum = np.log(np.exp(log_probs[:count]).sum())
    np.testing.assert_allclose([by_sum, *totals], likelihood, rtol=0, atol=1e-10)


def test_of_reads_a_function_of_the_order():
    size = 3

    def function(tokens, length, perm):
        # The order's prefix as a number, at every step.
        digits = jnp.where(jnp.tri(size + 1, size, -1), 1 + perm + 5 * tokens[perm], 0)
        number = digits @ 11 ** jnp.arange(size) + length
        return InsertionLogits(
            number[:, None] + jnp.arange(size + 1),
            number,
            number[:, None, None] + jnp.zeros((size + 1, VOCAB)),
        )

    policy = TrajectoryPolicy.of(function)
    args = jnp.asarray([1, 0, 1]), jnp.int32(3), jnp.asarray([2, 0, 1])

    @tables.jit
    def run(*args):
        states = policy.encode(*args, jnp.zeros(size, bool), None)
        rows = [policy.read(states, step) for step in range(size + 1)]
        return function(*args), policy(*args), rows

    expected, made, rows = jax.tree.map(np.asarray, run(*args))
    assert len(set(expected.stop.tolist())) == size + 1
    jax.tree.map(np.testing.assert_array_equal, made, expected)
    for step, row in enumerate(rows):
        right = jax.tree.map(lambda x, i=step: x[i], expected)
        jax.tree.map(np.testing.assert_array_equal, row, right)
    # It can be scored, but not sampled from.
    with pytest.raises(ValueError, match="cannot be sampled from: it has no begin"):
        policies.incremental(policy)
    with pytest.raises(ValueError, match="cannot be sampled from"):
        policies.replay(policy, *args)


def test_incremental_leaves_a_policy_with_a_cache_alone():
    policy = tables.trajectory_policy_of(HISTORIES)
    assert policies.incremental(policy) is policy


@pytest.mark.parametrize("name", ["policy", "policy-closed"])
def test_replay_of_a_canvas_policy(name):
    case = CASES[name]
    policy = tables.policy_of(TABLES)
    tokens, length, anchored, _ = case.arrays
    perm = tables.orders(case.missing)[-1]

    @tables.jit
    def run(tokens, perm, anchored):
        return (
            policies.replay(policy, tokens, length, perm, anchored),
            wrapped(policy)(tokens, length, perm, anchored),
        )

    made, expected = run(tokens, perm, anchored)
    here = slice(sum(case.missing) + 1)  # positions beyond are not inserted
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a[here], b[here]), made, expected
    )
    assert made.token.shape == (tables.SIZE + 1, tables.SIZE + 1, VOCAB)
