import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables

from insertion_jax.core import trajectories
from insertion_jax.methods import insertion_process
from insertion_jax.types import Canvas, InsertionLogits, TrajectoryPolicy

SIZE = 3
TABLES = tables.Tables(
    *(x.astype(np.float32) for x in tables.random_tables(3, size=SIZE, scale=1.0))
)
HISTORIES = tables.Tables(
    *(x.astype(np.float32) for x in tables.random_histories(4, size=SIZE, scale=1.0))
)
NUM_DRAWS = 20_000


def _temperature(value):
    return lambda probs: probs ** (1 / value) / np.sum(probs ** (1 / value))


def _nucleus(top_p):
    def reshape(probs):
        order = np.argsort(-probs)
        before = np.cumsum(probs[order]) - probs[order]
        kept = np.isin(np.arange(len(probs)), order[before < top_p])
        return np.where(kept, probs, 0.0) / probs[kept].sum()

    return reshape


def _state(tokens, length, flags):
    rows = zip(tokens[:length].tolist(), flags[:length].tolist(), strict=True)
    return tuple(rows)


def _empty():
    return Canvas(jnp.zeros(SIZE, int), jnp.int32(0), jnp.zeros(SIZE, bool))


def _draws(canvas, num_draws=NUM_DRAWS, seed=0, policy=None, **options):
    """Counts of `(final state, stopped)`."""
    keys = jax.random.split(jax.random.key(seed), num_draws)
    policy = tables.policy_of(TABLES) if policy is None else policy
    run = lambda key: insertion_process.sample(key, policy, canvas, **options)
    canvases, traces = jax.tree.map(np.asarray, tables.jit(jax.vmap(run))(keys))
    counts = {}
    for *row, stopped in zip(*canvases, traces.stopped, strict=True):
        outcome = _state(*row), bool(stopped)
        counts[outcome] = counts.get(outcome, 0) + 1
    return counts


def _p_value(counts, expected):
    assert sum(expected.values()) == pytest.approx(1.0)
    extra = set(counts) - set(expected)
    assert not extra
    return tables.p_value(
        [counts.get(key, 0) for key in expected], [*expected.values()]
    )


ANCHORED = Canvas(
    jnp.asarray([1, 0, 0]), jnp.int32(1), jnp.asarray([True, False, False])
)
LAWS = {
    "policy": ({}, {}),
    "eos": ({"eos_id": 2}, {}),
    "short": ({"max_length": 2}, {}),
    "eos-short": ({"max_length": 1, "eos_id": 2}, {}),
    "temperature": ({"temperature": 0.5}, {"reshape": _temperature(0.5)}),
    "eos-temperature": (
        {"temperature": 2.0, "eos_id": 2},
        {"reshape": _temperature(2.0)},
    ),
    "nucleus": ({"top_p": 0.7}, {"reshape": _nucleus(0.7)}),
    "eos-nucleus": ({"top_p": 0.8, "eos_id": 2}, {"reshape": _nucleus(0.8)}),
    "anchored": ({"closed": (True, False, False, False)}, {"start": ANCHORED}),
    "all-closed": ({"closed": (True, True, False, False)}, {"start": ANCHORED}),
}


ORDERED = ["policy", "eos-short", "eos-temperature", "anchored"]


@pytest.mark.parametrize(
    ("name", "histories"),
    [(name, False) for name in LAWS] + [(name, True) for name in ORDERED],
)
def test_samples_follow_the_law(name, histories):
    options, changes = LAWS[name]
    options = {"max_length": SIZE} | options
    start = changes.get("start", _empty())
    oracle = {k: v for k, v in changes.items() if k == "reshape"}
    closed, eos_id = options.get("closed"), options.get("eos_id")
    if closed is not None:
        options["closed"] = jnp.asarray(closed)
    state = _state(start.tokens, int(start.length), start.anchored)
    expected = tables.outcomes(
        HISTORIES if histories else TABLES,
        state,
        options["max_length"],
        closed,
        eos_id,
        histories=histories,
        **oracle,
    )
    policy = tables.trajectory_policy_of(HISTORIES) if histories else None
    assert _p_value(_draws(start, policy=policy, **options), expected) > 1e-4


def test_control_another_law_is_told_apart():
    counts = _draws(_empty(), max_length=SIZE)
    hotter = tables.outcomes(TABLES, (), SIZE, reshape=_temperature(1.1))
    assert _p_value(counts, hotter) < 1e-6


def test_control_a_cache_that_is_not_kept_up_to_date_shows():
    # Two insertions by the same logits, as if nothing had been inserted.
    policy = tables.trajectory_policy_of(HISTORIES)
    stale = policy._replace(advance=lambda number, slot, token: number)
    expected = tables.outcomes(HISTORIES, (), SIZE, histories=True)
    assert _p_value(_draws(_empty(), policy=stale, max_length=SIZE), expected) < 1e-6


def _hash_policy(canvas, weights):
    """Arbitrary logits that depend on the whole canvas, for any L."""
    size = canvas.tokens.shape[0]
    inside = jnp.arange(size) < canvas.length
    phase = jnp.sum(jnp.where(inside, (canvas.tokens + 1) * weights, 0.0))
    slots = jnp.arange(size + 1)
    token = jnp.sin(phase + slots[:, None] * 1.7 + jnp.arange(6) * 2.3)
    return InsertionLogits(2 * jnp.sin(phase + slots), jnp.sin(phase) - 2.0, 2 * token)


def _ordered_policy(weights):
    """Arbitrary logits that depend on the order of insertion, for any L."""
    size = len(weights)

    def begin(canvas):
        inside = jnp.arange(size) < canvas.length
        return jnp.sum(jnp.where(inside, (canvas.tokens + 1) * weights, 0.0))

    def look(phase):
        slots = jnp.arange(size + 1)
        token = lambda z: 2 * jnp.sin(phase + z * 1.7 + jnp.arange(6) * 2.3)
        return 2 * jnp.sin(phase + slots), jnp.sin(phase) - 1.5, token

    def advance(phase, slot, token):
        return (1.3 * phase + slot * 0.7 + token * 2.1) % 6.0

    return TrajectoryPolicy(None, None, begin, look, advance)


@pytest.fixture(
    scope="module", params=[(None, False), (5, False), (None, True), (5, True)]
)
def runs(request):
    """Samples from many random starts: canvases, starts, closed gaps, traces."""
    rng = np.random.default_rng(4)
    eos_id, ordered = request.param
    # Several steps make one turn of the loop of a policy with a cache: more of them
    # than of rows that end together.
    num_rows, size, max_length = 300, *((20, 19) if ordered else (8, 7))
    lengths = rng.integers(0, max_length + 1, num_rows)
    tokens = rng.integers(0, 5, (num_rows, size))
    inside = np.arange(size) < lengths[:, None]
    flags = inside & (rng.random((num_rows, size)) < 0.8)
    closed = rng.random((num_rows, size + 1)) < 0.5
    if eos_id is not None:  # the last gap must be open
        closed[np.arange(num_rows), flags.sum(axis=1)] = False
    weights = rng.normal(size=size).astype(np.float32)

    def one(key, tokens, length, flags, closed):
        return insertion_process.sample(
            key,
            _ordered_policy(weights)
            if ordered
            else functools.partial(_hash_policy, weights=weights),
            Canvas(tokens, length, flags),
            max_length=max_length,
            closed=closed,
            eos_id=eos_id,
        )

    keys = jax.random.split(jax.random.key(5), num_rows)
    args = tokens.astype(np.int32), lengths.astype(np.int32), flags, closed
    canvases, traces = tables.jit(jax.vmap(one))(keys, *args)
    first = tables.jit(one)(
        jax.random.split(jax.random.key(5), num_rows)[7], *(x[7] for x in args)
    )
    return (
        *jax.tree.map(np.asarray, (Canvas(*args[:3]), closed, canvases, traces, first)),
        eos_id,
        max_length,
    )


def _rows(canvas, row):
    return _state(canvas.tokens[row], canvas.length[row], canvas.anchored[row])


def test_traces_replay_to_the_final_canvas(runs):
    start, closed, canvases, traces, _, eos_id, max_length = runs
    assert len(set(traces.num_steps.tolist())) > 3
    for row in range(len(closed)):
        state = _rows(start, row)
        for step in range(traces.num_steps[row]):
            slot, token = traces.slot[row, step], traces.token[row, step]
            assert 0 <= slot <= len(state)
            # Only open gaps are entered, and EOS is no content.
            assert not closed[row, sum(flag for _, flag in state[:slot])]
            assert token != eos_id
            state = (*state[:slot], (token, False), *state[slot:])
        assert state == _rows(canvases, row)
        assert (traces.slot[row, traces.num_steps[row] :] == -1).all()
        assert (traces.token[row, traces.num_steps[row] :] == -1).all()
        assert traces.stopped[row] or canvases.length[row] == max_length


def test_tokens_of_the_start_are_kept_in_order(runs):
    start, _, canvases, _, *_ = runs
    for row in range(len(start.length)):
        anchors = [token for token, flag in _rows(start, row) if flag]
        assert [token for token, flag in _rows(canvases, row) if flag] == anchors
        rest = iter(_rows(canvases, row))
        assert all(pair in rest for pair in _rows(start, row))  # a subsequence


def test_stopping_and_cutting_off_both_occur(runs):
    _, _, canvases, traces, _, _, max_length = runs
    assert traces.stopped.any()
    assert not traces.stopped.all()
    # A policy may stop by itself at a full canvas.
    assert traces.stopped[canvases.length == max_length].any()


def test_a_row_of_a_batch_equals_its_own_run(runs):
    _, _, canvases, traces, first, *_ = runs
    row = jax.tree.map(lambda x: x[7], (canvases, traces))
    jax.tree.map(np.testing.assert_array_equal, row, first)


@pytest.mark.parametrize("eos_id", [None, 2])
@pytest.mark.parametrize("seed", range(4))
def test_greedy_takes_the_most_probable_actions(eos_id, seed):
    table = tables.random_tables(10 + seed, size=SIZE)
    if eos_id is None:
        table.stop[...] -= 1.0
    state = ()
    while True:
        probs = tables.action_probs(table, state, eos_id=eos_id)
        location = np.append(np.zeros(len(state) + 1), 0.0)
        # Location first, then its content.
        number = tables.state_number(state)
        location = table.slot[number, : len(state) + 1]
        if eos_id is None and table.stop[number] > location.max():
            stopped = True
            break
        slot = int(location.argmax())
        content = [
            probs["stop" if token == eos_id and slot == len(state) else (slot, token)]
            if token != eos_id or slot == len(state)
            else -1.0
            for token in range(tables.VOCAB)
        ]
        token = int(np.argmax(content))
        if token == eos_id:
            stopped = True
            break
        if len(state) == SIZE:
            stopped = False
            break
        state = (*state[:slot], (token, False), *state[slot:])
    single = tables.Tables(*(x.astype(np.float32) for x in table))
    canvas, trace = tables.jit(
        lambda key: insertion_process.sample(
            key,
            tables.policy_of(single),
            _empty(),
            max_length=SIZE,
            greedy=True,
            eos_id=eos_id,
        )
    )(jax.random.key(0))
    assert _state(*canvas) == state
    assert trace.stopped == stopped
    assert trace.num_steps == len(state)


def test_plain_numbers_make_a_canvas():
    # No jit, no flags, a Python length.
    canvas, trace = insertion_process.sample(
        jax.random.key(1),
        tables.policy_of(TABLES),
        Canvas(np.zeros(SIZE, np.int32), 0),
        max_length=SIZE,
    )
    assert canvas.length == trace.num_steps
    assert canvas.anchored is None


def test_a_canvas_that_is_full_from_the_start_comes_back():
    start = trajectories.canvas_of(jnp.asarray([1, 0, 2]), jnp.ones(SIZE, bool))
    canvas, trace = insertion_process.sample(
        jax.random.key(1), tables.policy_of(TABLES), start, max_length=2
    )
    np.testing.assert_array_equal(canvas.tokens, start.tokens)
    assert canvas.length == 3
    assert trace.num_steps == 0


def test_max_length_must_fit():
    with pytest.raises(ValueError, match="max_length 4 is larger than the canvas of 3"):
        insertion_process.sample(
            jax.random.key(0), tables.policy_of(TABLES), _empty(), max_length=4
        )
