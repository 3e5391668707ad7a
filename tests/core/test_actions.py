import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables

from insertion_jax.core import actions, trajectories
from insertion_jax.types import Canvas, InsertionLogits

TABLES = tables.random_tables(0)
# Not an array twice, with and without float64: jax caches constants by identity.
SINGLE = tables.Tables(*(x.astype(np.float32) for x in TABLES))
CLOSED = (True, False, True, False, True)
STATES = [
    (),
    ((1, False),),
    ((1, True),),
    ((1, False), (0, True), (1, False)),
    ((1, True), (0, False), (0, False), (1, True)),
]


def _canvas(state):
    tokens = [token for token, _ in state] + [2] * (tables.SIZE - len(state))
    flags = [flag for _, flag in state] + [True] * (tables.SIZE - len(state))
    return Canvas(jnp.asarray(tokens), jnp.int32(len(state)), jnp.asarray(flags))


@pytest.fixture(scope="module")
def log_probs_of():
    @tables.jit
    def one(canvas, closed):
        logits = tables.policy_of(TABLES)(canvas)
        return [
            actions.action_log_probs(logits, canvas, closed, eos_id)
            for eos_id in (None, 2)
        ]

    def both(state, closed, eos_id):
        with jax.enable_x64(True):
            closed = np.zeros(tables.SIZE + 1, bool) if closed is None else closed
            made = one(_canvas(state), np.array(closed))
        return jax.tree.map(np.asarray, made[0 if eos_id is None else 1])

    return both


KINDS = [
    (state, closed, eos_id)
    for state in STATES
    for closed in (None, CLOSED)
    for eos_id in (None, 2)
    # With EOS termination the last gap must be open.
    if not (eos_id and closed and closed[sum(flag for _, flag in state)])
]


@pytest.mark.parametrize(("state", "closed", "eos_id"), KINDS)
def test_actions_normalise_and_match_the_oracle(log_probs_of, state, closed, eos_id):
    made = log_probs_of(state, closed, eos_id)
    expected = tables.action_probs(TABLES, state, closed, eos_id)
    insertions = {
        (slot, token): np.exp(made.slot[slot] + made.token[slot, token])
        for slot in range(tables.SIZE + 1)
        for token in range(tables.VOCAB)
        if not (eos_id == token and slot == len(state))
    }
    np.testing.assert_allclose(np.exp(made.stop), expected.pop("stop"), atol=1e-12)
    np.testing.assert_allclose(
        sum(insertions.values()) + np.exp(made.stop), 1.0, atol=1e-12
    )
    for action, prob in insertions.items():
        np.testing.assert_allclose(prob, expected.get(action, 0.0), atol=1e-12)


def test_eos_goes_to_the_last_slot_alone(log_probs_of):
    state = STATES[3]
    made = log_probs_of(state, None, 2)
    eos = np.exp(made.token[:, 2])
    assert np.flatnonzero(eos).tolist() == [len(state)]
    np.testing.assert_allclose(np.exp(made.token).sum(axis=1), 1.0)


def test_without_a_closed_argument_all_gaps_are_open(log_probs_of):
    canvas = _canvas(STATES[3])
    logits = tables.policy_of(SINGLE)(canvas)
    made = actions.action_log_probs(logits, canvas)
    np.testing.assert_allclose(
        made.slot, log_probs_of(STATES[3], None, None).slot, rtol=1e-5
    )


def test_insertion_log_probs_reads_each_position_at_its_slot():
    rng = np.random.default_rng(0)
    slot, token = rng.normal(size=6), rng.normal(size=(6, 3))
    tokens, included = np.array([2, 0, 1, 1, 0]), np.array([0, 1, 0, 0, 1], bool)
    made = actions.insertion_log_probs(
        actions.ActionLogProbs(jnp.asarray(slot), 0.0, jnp.asarray(token)),
        jnp.asarray(tokens),
        jnp.asarray(included),
    )
    for position in np.flatnonzero(~included):
        z = included[:position].sum()
        np.testing.assert_allclose(made[0][position], slot[z], rtol=1e-6)
        np.testing.assert_allclose(
            made[1][position], token[z, tokens[position]], rtol=1e-6
        )


@pytest.mark.parametrize("eos_id", [None, 2])
def test_low_precision_logits_are_widened(eos_id):
    canvas = _canvas(STATES[3])
    logits = tables.policy_of(SINGLE)(canvas)
    low = InsertionLogits(*(x.astype(jnp.bfloat16) for x in logits))
    made = actions.action_log_probs(low, canvas, None, eos_id)
    wide = InsertionLogits(*(x.astype(jnp.float32) for x in low))
    expected = actions.action_log_probs(wide, canvas, None, eos_id)
    for one, other in zip(made, expected, strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("eos_id", [None, 2])
@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_gradients_are_finite_at_extreme_logits(eos_id, scale):
    # All gaps but one closed; everything that is finite is summed.
    canvas, closed = _canvas(STATES[4]), jnp.asarray([True, False, False, True, True])
    rng = np.random.default_rng(0)
    stop = -jnp.inf if eos_id is not None else scale

    def total(slot, token):
        logits = InsertionLogits(slot, stop, token)
        made = actions.action_log_probs(logits, canvas, closed, eos_id)
        slot, token = actions.insertion_log_probs(
            made, jnp.asarray([1, 0, 0, 1]), jnp.asarray([True, False, False, True])
        )
        return slot.sum() + token.sum() + made.stop

    value, grads = tables.jit(jax.value_and_grad(total, argnums=(0, 1)))(
        scale * rng.choice([-1.0, 1.0], 5).astype(np.float32),
        scale * rng.choice([-1.0, 1.0], (5, 3)).astype(np.float32),
    )
    assert np.isfinite(value)
    assert all(np.isfinite(grad).all() for grad in grads)


def test_shapes_are_checked():
    canvas = trajectories.canvas_of(jnp.zeros(3, int), jnp.zeros(3, bool))
    logits = InsertionLogits(jnp.zeros(3), jnp.zeros(()), jnp.zeros((4, 5)))
    with pytest.raises(AssertionError):
        actions.action_log_probs(logits, canvas)
