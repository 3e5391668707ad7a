"""Sampling with the trajectory network, whose cache holds keys and values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
import tiny

from insertion_jax.core import exact, trajectories
from insertion_jax.methods import insertion_process
from insertion_jax.networks import trajectory
from insertion_jax.types import EOS_ID, Canvas

SIZE = 11  # more than the steps in a turn of the sampler's loop, and no multiple
TEMPERATURE = 0.7


def _policy_of(emits_eos=False, seed=0):
    network = trajectory.make(
        tiny.config(num_layers=1, neighbours=True), tiny.VOCAB, emits_eos=emits_eos
    )
    example = tiny.example()
    params = tiny.random_params(network.init, example, seed=seed)

    def policy_of(prompt, mask):
        policy = network.apply(params, prompt, mask)

        # It should go on for a while.
        def read(states, step):
            logits = policy.read(states, step)
            return logits._replace(stop=logits.stop - 4.0)

        def look(cache):
            slot, stop, content = policy.look(cache)
            return slot, stop - 4.0, content

        return policy._replace(read=read, look=look)

    return policy_of


@pytest.fixture(scope="module", params=[None, EOS_ID])
def runs(request):
    """Greedy rows with anchors and closed gaps: `(inputs, rows, single, logits)`."""
    rng, num_rows, eos_id = np.random.default_rng(0), 12, request.param
    policy_of = _policy_of(emits_eos=eos_id is not None)
    prompt = rng.integers(3, tiny.VOCAB, (num_rows, 4)).astype(np.int32)
    mask = np.arange(4) < rng.integers(0, 5, (num_rows, 1))
    length = rng.integers(0, 4, num_rows).astype(np.int32)
    tokens = rng.integers(3, tiny.VOCAB, (num_rows, SIZE)).astype(np.int32)
    anchored = np.arange(SIZE) < length[:, None]
    closed = rng.random((num_rows, SIZE + 1)) < 0.3
    closed[np.arange(num_rows), length] = False
    numbers = np.arange(num_rows)
    inputs = numbers, prompt, mask, tokens, length, anchored, closed

    def one(number, prompt, mask, tokens, length, anchored, closed):
        return insertion_process.sample(
            jax.random.fold_in(jax.random.key(1), number),
            policy_of(prompt, mask),
            Canvas(tokens, length, anchored),
            max_length=SIZE - 1,
            closed=closed,
            eos_id=eos_id,
            temperature=TEMPERATURE,
        )

    def logits_of(prompt, mask, canvas, perm):
        return policy_of(prompt, mask)(
            canvas.tokens, canvas.length, perm, canvas.anchored
        )

    rows = jax.tree.map(np.asarray, tables.jit(jax.vmap(one))(*inputs))
    alone = tables.jit(one)
    single = [
        jax.tree.map(np.asarray, alone(*(x[i] for x in inputs)))
        for i in range(4 if eos_id is None else 0)  # to compile less
    ]
    perms = np.array([_perm_of(*rows, i) for i in range(num_rows)], np.int32)
    logits = tables.jit(jax.vmap(logits_of))(prompt, mask, rows[0], perms)
    return inputs, rows, single, jax.tree.map(np.asarray, logits), eos_id


def _perm_of(canvas, trace, row):
    """The final positions in order of insertion, then all others."""
    anchors = int(canvas.anchored[row].sum())
    places = [("anchor", i) for i in range(anchors)]
    for step in range(trace.num_steps[row]):
        places.insert(trace.slot[row, step], ("step", step))
    inserted = [places.index(("step", i)) for i in range(trace.num_steps[row])]
    return [*inserted, *np.setdiff1d(np.arange(SIZE), inserted)]


def test_a_row_of_a_batch_equals_its_own_run(runs):
    _, rows, single, *_ = runs
    for number, alone in enumerate(single):
        row = jax.tree.map(lambda x, i=number: x[i], rows)
        jax.tree.map(np.testing.assert_array_equal, row, alone)


def test_anchors_stay_and_closed_gaps_stay_empty(runs):
    (*_, tokens, length, _, closed), (canvas, trace), _, _, _ = runs
    for row in range(len(length)):
        state = [(token, True) for token in tokens[row, : length[row]]]
        for step in range(trace.num_steps[row]):
            slot = trace.slot[row, step]
            assert not closed[row, sum(flag for _, flag in state[:slot])]
            state.insert(slot, (trace.token[row, step], False))
        here = slice(canvas.length[row])
        made = zip(canvas.tokens[row, here], canvas.anchored[row, here], strict=True)
        assert state == list(made)
        assert trace.stopped[row] or canvas.length[row] == SIZE - 1
    assert trace.num_steps.max() > 8
    assert len(set(trace.num_steps.tolist())) > 2


def _surprise(runs, logits):
    """How far -log p of all choices is from its mean, in standard deviations."""
    (*_, closed), (canvas, trace), _, _, eos_id = runs
    excess, variance = 0.0, 0.0
    for row in range(len(closed)):
        state = [True] * int(canvas.anchored[row].sum())
        # Whether a full canvas goes on is left out.
        choices = int(trace.num_steps[row] + (canvas.length[row] < SIZE - 1))
        for step in range(choices):
            ends, size = step == trace.num_steps[row], len(state)
            slot, token = trace.slot[row, step], trace.token[row, step]
            location = logits.slot[row, step, : size + 1].astype(np.float64)
            location[closed[row][np.cumsum([0, *state])]] = -np.inf
            if eos_id is None:
                location = np.append(location, logits.stop[row, step])
                slot = size + 1 if ends else slot
            elif ends:
                slot, token = size, EOS_ID
            made = [(location, slot)]
            if slot <= size:
                content = logits.token[row, step, slot].astype(np.float64)
                if slot < size:
                    content[EOS_ID] = -np.inf
                made.append((content, token))
            for values, choice in made:
                probs = tables.softmax(values / TEMPERATURE)
                cost = -np.log(np.maximum(probs, 1e-300))
                mean = np.sum(probs * cost)
                excess += cost[choice] - mean
                variance += np.sum(probs * (cost - mean) ** 2)
            state.insert(slot, False)
    return excess / np.sqrt(variance)


def test_samples_follow_the_pass_that_trains(runs):
    # The one pass over the order that was sampled gives the law of every choice.
    logits = runs[3]
    assert abs(_surprise(runs, logits)) < 4.5
    # Control: the logits of the next row.
    other = jax.tree.map(lambda x: np.roll(x, 1, axis=0), logits)
    assert abs(_surprise(runs, other)) > 6.0


def test_samples_follow_the_law_of_the_network():
    size, vocab, num_draws, eos_id = 2, 5, 8000, EOS_ID
    make = _policy_of(emits_eos=True, seed=2)
    narrow = lambda logits: jnp.where(jnp.arange(9) < vocab, logits, -1e30)

    def policy():
        policy = make(np.array([5, 3], np.int32), np.ones(2, bool))

        def read(states, step):
            logits = policy.read(states, step)
            return logits._replace(token=narrow(logits.token))

        def look(cache):
            slot, stop, content = policy.look(cache)
            return slot, stop, lambda z: narrow(content(z))

        return policy._replace(read=read, look=look)

    strings = [(), (3,), (4,), (3, 3), (3, 4), (4, 3), (4, 4)]
    tokens = np.array([s + (0,) * (size - len(s)) for s in strings], np.int32)
    lengths = np.array([len(s) for s in strings], np.int32)
    likelihood = lambda tokens, length: exact.log_likelihood(
        policy(), tokens, length, eos_id=eos_id
    )
    probs = np.exp(tables.jit(jax.vmap(likelihood))(tokens, lengths))
    assert 0.01 < 1 - probs.sum() < 0.99

    def draw(key):
        start = trajectories.canvas_of(jnp.zeros(size, int), jnp.zeros(size, bool))
        return insertion_process.sample(
            key, policy(), start, max_length=size, eos_id=eos_id
        )

    keys = jax.random.split(jax.random.key(3), num_draws)
    canvas, trace = jax.tree.map(np.asarray, tables.jit(jax.vmap(draw))(keys))
    counts = dict.fromkeys([*strings, None], 0)
    for row in range(num_draws):
        made = tuple(canvas.tokens[row, : canvas.length[row]].tolist())
        counts[made if trace.stopped[row] else None] += 1
    expected = np.append(probs, 1 - probs.sum())
    assert tables.p_value([*counts.values()], expected) > 1e-4
    assert tables.p_value([*counts.values()], expected**1.2) < 1e-6  # control
