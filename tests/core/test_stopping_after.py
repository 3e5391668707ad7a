"""A policy that may not stop at once: the law of another, given that it goes on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables

from insertion_jax.core import exact, policies
from insertion_jax.methods import insertion_process
from insertion_jax.types import Canvas

TABLES = tables.random_tables(5)
HISTORIES = tables.random_histories(6)
CASES = {
    name: tables.CASES[name]
    for name in ("policy-short", "policy-anchored", "policy-closed", "eos-short")
}
NUM_DRAWS = 2_000


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def _made(histories, min_insertions, eos_id):
    policy = (
        tables.trajectory_policy_of(HISTORIES)
        if histories
        else tables.policy_of(TABLES)
    )
    return policies.stopping_after(policy, min_insertions, eos_id)


def _start_probs(case, histories):
    number = tables.history_of(case.start) if histories else None
    made = HISTORIES if histories else TABLES
    return tables.action_probs(
        made, case.start, case.closed, case.eos_id, number=number
    )


@functools.partial(tables.jit, static_argnames=("histories", "least", "eos_id"))
def _log_prob(arrays, perm, histories, least, eos_id):
    tokens, length, anchored, closed = arrays
    return insertion_process.trajectory_log_prob(
        _made(histories, least, eos_id),
        tokens,
        length,
        perm,
        anchored=anchored,
        closed=closed,
        eos_id=eos_id,
    )


@pytest.mark.parametrize("histories", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_the_rest_keeps_its_proportions(name, histories):
    case = CASES[name]
    made = HISTORIES if histories else TABLES
    stop = _start_probs(case, histories)["stop"]
    for perm in tables.orders(case.missing)[:2]:
        free = tables.trajectory_log_prob(made, case, perm, histories)
        found = _log_prob(case.arrays, perm, histories, 1, case.eos_id)
        # Only the first step is another one, and of it only what stopping takes.
        np.testing.assert_allclose(found, free - np.log1p(-stop), atol=1e-10)
        control = _log_prob(case.arrays, perm, histories, 0, case.eos_id)
        np.testing.assert_allclose(control, free, atol=1e-10)


@pytest.mark.parametrize("histories", [False, True])
def test_what_is_too_short_has_no_probability(histories):
    case = tables.CASES["policy-anchored"]
    (perm, *_) = tables.orders(case.missing)
    least = sum(case.missing)
    assert _log_prob(case.arrays, perm, histories, least, None) > -100
    gone = _log_prob(case.arrays, perm, histories, least + 1, None)
    assert np.isfinite(gone) and gone < -1e29


def test_enumeration_agrees():
    case = tables.CASES["policy-short"]
    tokens, length, _, _ = case.arrays
    stop = _start_probs(case, histories=False)["stop"]
    free, bound = (
        exact.log_likelihood(policy, jnp.asarray(tokens), length)
        for policy in (tables.policy_of(TABLES), _made(False, 1, None))
    )
    np.testing.assert_allclose(bound, free - np.log1p(-stop), atol=1e-10)


SIZE = 3
SMALL = tables.random_tables(7, size=SIZE)
SMALL_HISTORIES = tables.random_histories(8, size=SIZE)
START = Canvas(jnp.asarray([1, 0, 0]), jnp.int32(1), jnp.asarray([True, False, False]))


@pytest.mark.parametrize(("histories", "eos_id"), [(False, 2), (True, None)])
def test_samples_follow_the_law(histories, eos_id):
    closed = (True, False, False, False)
    start = ((1, True),)
    made = SMALL_HISTORIES if histories else SMALL
    free = tables.outcomes(made, start, SIZE, closed, eos_id, histories=histories)
    at_once = free.pop((start, True))
    assert at_once > 0.02
    policy = (tables.trajectory_policy_of if histories else tables.policy_of)(made)

    def counts(policy):
        keys = jax.random.split(jax.random.key(3), NUM_DRAWS)
        run = lambda key: insertion_process.sample(
            key,
            policy,
            START,
            max_length=SIZE,
            closed=jnp.asarray(closed),
            eos_id=eos_id,
        )
        canvas, trace = jax.tree.map(np.asarray, tables.jit(jax.vmap(run))(keys))
        found = {}
        for row in range(NUM_DRAWS):
            size = canvas.length[row]
            pairs = zip(canvas.tokens[row, :size], canvas.anchored[row], strict=False)
            state = tuple((int(t), bool(f)) for t, f in pairs)
            key = state, bool(trace.stopped[row])
            found[key] = found.get(key, 0) + 1
        return found

    found = counts(policies.stopping_after(policy, 1, eos_id))
    assert set(found) <= set(free)
    p_value = tables.p_value([found.get(k, 0) for k in free], [*free.values()])
    assert p_value > 1e-4
    # Without it some stop at once.
    assert (start, True) in counts(policy)
