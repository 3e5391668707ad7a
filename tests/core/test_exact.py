import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
from tables import CASES, Case

from insertion_jax.core import exact, trajectories
from insertion_jax.types import InsertionLogits

TABLES = tables.random_tables(1)
ORDER_LOGITS = np.array([0.5, -0.8, 1.3, 0.2])


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def _values(tables_, order_logits, case_arrays, eos_id):
    tokens, length, anchored, closed = case_arrays
    policy = tables.policy_of(tables_)
    options = {"anchored": anchored, "closed": closed, "eos_id": eos_id}
    return (
        exact.log_likelihood(policy, tokens, length, **options),
        exact.elbo(policy, order_logits, tokens, length, **options),
    )


def _of_scale(scale, order_logits, *args):
    return _values(tables.Tables(*(scale * x for x in TABLES)), order_logits, *args)


# One compilation for each kind of termination.
_compiled = tables.jit(_values, static_argnames="eos_id")
_compiled_of_scale = tables.jit(_of_scale, static_argnums=3)
_jacobian = tables.jit(jax.jacrev(_of_scale, argnums=(0, 1)), static_argnums=3)


def _exact(case):
    """`(log_likelihood, elbo)` of a case."""
    return _compiled(TABLES, ORDER_LOGITS, case.arrays, case.eos_id)


def _brute_likelihood(case):
    found = tables.outcomes(TABLES, case.start, case.length, case.closed, case.eos_id)
    return np.log(found[case.target, True])


@pytest.mark.parametrize("name", CASES)
def test_likelihood_is_the_sum_over_action_sequences(name):
    # With anchors: the joint law of the string and the places of its anchors.
    case = CASES[name]
    np.testing.assert_allclose(
        _exact(case)[0], _brute_likelihood(case), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("name", CASES)
def test_elbo_is_the_sum_over_orders(name):
    case = CASES[name]
    total = 0.0
    for perm in tables.orders(case.missing):
        picks = perm[: sum(case.missing)].tolist()
        log_q = tables.order_log_prob(ORDER_LOGITS, picks, case.missing)
        log_p = tables.trajectory_log_prob(TABLES, case, perm)
        total += np.exp(log_q) * (log_p - log_q)
    log_likelihood, elbo = _exact(case)
    np.testing.assert_allclose(elbo, total, rtol=0, atol=1e-10)
    assert elbo <= log_likelihood + 1e-10


@pytest.mark.parametrize("name", ["policy", "eos"])
def test_elbo_falls_short_where_the_posterior_is_wrong(name):
    log_likelihood, elbo = _exact(CASES[name])
    assert elbo < log_likelihood - 0.01


@pytest.mark.parametrize("eos_id", [None, 2])
def test_one_insertion_leaves_no_gap(eos_id):
    log_likelihood, elbo = _exact(Case((1, 0, 0, 0), 1, eos_id=eos_id))
    np.testing.assert_allclose(elbo, log_likelihood, rtol=0, atol=1e-12)


def test_no_gap_under_the_true_posterior():
    # A policy that inserts what is missing from (0, 1, 2, 3) by a softmax of
    # ORDER_LOGITS: its posterior over orders is that Plackett-Luce law.
    size, phi = 4, jnp.asarray(ORDER_LOGITS)
    target = jnp.arange(size)

    def policy(canvas):
        inside = jnp.arange(size) < canvas.length
        held = jnp.any((canvas.tokens == target[:, None]) & inside, axis=1)
        slots = trajectories.slot_of(held)
        goes = (slots == jnp.arange(size + 1)[:, None]) & ~held
        token = jnp.where(goes, phi, -1e30)
        slot = jax.nn.logsumexp(token, axis=1)
        stop = jnp.where(held.all(), 0.0, jax.nn.logsumexp(slot) - 1.0)
        return InsertionLogits(slot, stop, token)

    log_likelihood = tables.jit(lambda: exact.log_likelihood(policy, target, size))()
    elbo = tables.jit(lambda logits: exact.elbo(policy, logits, target, size))
    right, wrong = elbo(phi), elbo(jnp.zeros(size))
    np.testing.assert_allclose(right, log_likelihood, rtol=0, atol=1e-10)
    assert wrong < log_likelihood - 0.01


@pytest.mark.parametrize("eos_id", [None, 2])
def test_all_strings_and_the_truncated_mass_sum_to_one(eos_id):
    content = range(tables.VOCAB) if eos_id is None else range(2)
    strings = [s for n in range(4) for s in itertools.product(content, repeat=n)]
    total = sum(
        np.exp(_exact(Case(s + (0,) * (4 - len(s)), len(s), eos_id=eos_id))[0])
        for s in strings
    )
    found = tables.outcomes(TABLES, (), 4, eos_id=eos_id)
    truncated = sum(p for (state, _), p in found.items() if len(state) == 4)
    assert truncated > 0.01
    np.testing.assert_allclose(total + truncated, 1.0, atol=1e-10)


def test_a_target_in_a_closed_gap_is_impossible():
    case = CASES["policy-closed"]._replace(closed=(False, True, False, False, False))
    for value in _exact(case):
        assert np.isfinite(value)
        assert value < -1e29


@pytest.mark.parametrize("name", ["policy-short", "policy-closed", "eos-closed"])
def test_gradients_are_those_of_finite_differences(name):
    case = CASES[name]
    rest, h = (case.arrays, case.eos_id), 1e-5

    def difference(scale, logits):
        up = _compiled_of_scale(1 + scale, ORDER_LOGITS + logits, *rest)
        down = _compiled_of_scale(1 - scale, ORDER_LOGITS - logits, *rest)
        return np.subtract(up, down) / (2 * h)

    likelihood, elbo = _jacobian(1.0, ORDER_LOGITS, *rest)
    np.testing.assert_allclose(
        [likelihood[0], elbo[0]], difference(h, np.zeros(4)), rtol=1e-6
    )
    by_logit = [difference(0.0, step) for step in h * np.eye(4)]
    by_logit = np.transpose(by_logit)
    np.testing.assert_allclose(elbo[1], by_logit[1], atol=1e-7)
    assert not np.any(likelihood[1])


def test_long_sequences_are_refused():
    with pytest.raises(ValueError, match="at most 10 positions, got 11"):
        exact.log_likelihood(lambda canvas: None, jnp.zeros(11, int), 11)
