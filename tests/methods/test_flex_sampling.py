import functools

import flexible_tables
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables

from insertion_jax import sampling
from insertion_jax.core import event_times
from insertion_jax.core.leaps import MaskedRates
from insertion_jax.methods import flex_law, flex_masked_diffusion
from insertion_jax.types import Canvas

LINEAR = flex_law.kumaraswamy(1.0)
SIZE, VOCAB, MAX_LENGTH = 8, 6, 7
MASK = VOCAB


def _sample(key, denoise, canvas, **options):
    defaults = {
        "mask_id": MASK,
        "num_steps": 12,
        "insert_clock": LINEAR.insert_clock,
        "unmask_clock": LINEAR.unmask_clock,
        "max_length": canvas.tokens.shape[0],
        "time_exponent": 1.0,
    }
    return flex_masked_diffusion.sample(key, denoise, canvas, **(defaults | options))


def _draws(denoise, canvas, num_draws, **options):
    keys = jax.random.split(jax.random.key(0), num_draws)
    run = tables.jit(jax.vmap(lambda key: _sample(key, denoise, canvas, **options)))
    return jax.tree.map(np.asarray, run(keys))


def _empty(size):
    return Canvas(jnp.zeros(size, jnp.int32), jnp.int32(0), jnp.zeros(size, bool))


def _inserted_by_leaps(q, num_steps, exponent=1.0):
    """P(nonempty) of the sampler, leap by leap: no insertion in the last one."""
    left = (1 - np.arange(num_steps) / num_steps) ** exponent
    rate = q * left / (1 - q * (1 - left))
    return 1 - np.exp(-np.sum(rate[:-1] * np.log(left[:-1] / left[1:])))


@pytest.mark.parametrize(("num_steps", "exponent"), [(3, 1.0), (3, 2.0), (64, 2.0)])
def test_one_symbol_comes_as_often_as_it_should(num_steps, exponent):
    q, num_draws = 0.3, 10_000
    canvases, _, _ = _draws(
        flexible_tables.one_symbol(q),
        _empty(1),
        num_draws,
        num_steps=num_steps,
        time_exponent=exponent,
    )
    made = canvases.length.sum()
    counts = [num_draws - made, made]
    expected = _inserted_by_leaps(q, num_steps, exponent)
    assert tables.p_value(counts, [1 - expected, expected]) > 1e-4
    # Controls: the limit is not there in a few leaps; another q is told apart.
    assert (tables.p_value(counts, [1 - q, q]) > 1e-4) == (num_steps == 64)
    assert tables.p_value(counts, [1 - q - 0.05, q + 0.05]) < 1e-6


def test_what_the_last_leap_loses():
    # A token that is sure to come misses 1 of N even leaps, 1 of N^2 quadratic ones.
    for exponent, lost in ((1.0, 1 / 64), (2.0, 1 / 64**2)):
        came = _inserted_by_leaps(1 - 1e-12, 64, exponent)
        assert 1 - came == pytest.approx(lost, rel=1e-6)


def test_the_law_in_the_limit():
    # With many leaps, and the best denoiser, what is drawn is the data.
    np.testing.assert_allclose(_inserted_by_leaps(0.3, 10**6), 0.3, atol=1e-4)
    best = flexible_tables.best_for_ab(jnp.array([4.0, 1.0]))

    @tables.jit
    def share_of_ab(keys, scale):
        def denoise(canvas, time):
            rates = best(canvas, time)
            return rates._replace(insert=scale * rates.insert)

        def one(key):
            options = {"mask_id": flexible_tables.MASK, "num_steps": 128}
            options["time_exponent"] = 2.0
            canvas, _, _ = _sample(key, denoise, _empty(2), **options)
            return (canvas.length == 2) & (canvas.tokens == jnp.arange(2)).all()

        return jnp.mean(jax.vmap(one)(keys))

    keys = jax.random.split(jax.random.key(1), (2, 500))
    assert share_of_ab(keys[0], 1.0) > 0.98
    assert share_of_ab(keys[1], 0.2) < 0.9  # control


def _starts(num_rows):
    rng = np.random.default_rng(4)
    lengths = rng.integers(0, MAX_LENGTH + 1, num_rows).astype(np.int32)
    tokens = rng.integers(0, VOCAB, (num_rows, SIZE)).astype(np.int32)
    flags = np.arange(SIZE) < lengths[:, None]
    closed = rng.random((num_rows, SIZE + 1)) < 0.5
    return Canvas(tokens, lengths, flags), closed


OPTIONS = {
    "plain": {},
    "prob_diff": {"confidence": "prob_diff", "greedy": True},
    "entropy": {
        "confidence": "entropy",
        "count_without_hazard": True,
        "top_p": 0.7,
        "temperature": 0.8,
    },
}


@pytest.fixture(scope="module", params=OPTIONS)
def runs(request):
    """Samples from many random starts: canvases, starts, closed gaps, traces, times."""
    start, closed = _starts(200)
    denoise = flexible_tables.hashed(SIZE, VOCAB, scale=2.0)

    def one(key, canvas, closed):
        return _sample(
            key,
            denoise,
            canvas,
            closed=closed,
            max_length=MAX_LENGTH,
            **OPTIONS[request.param],
        )

    keys = jax.random.split(jax.random.key(3), 200)
    made = tables.jit(jax.vmap(one))(keys, start, closed)
    return start, closed, *jax.tree.map(np.asarray, made)


def test_samples_are_finished(runs):
    start, _, canvases, traces, _ = runs
    assert (canvases.length <= MAX_LENGTH).all()
    assert (canvases.length == start.length + traces.num_steps).all()
    inside = np.arange(SIZE) < canvases.length[:, None]
    assert (canvases.tokens[inside] < VOCAB).all()
    assert (canvases.tokens[inside] >= 0).all()
    assert not canvases.tokens[~inside].any()
    # Some overflowed, some did not, and only full ones did.
    assert 0 < traces.stopped.sum() < 200
    assert (canvases.length[~traces.stopped] == MAX_LENGTH).all()


def test_anchored_tokens_stay_and_closed_gaps_stay_empty(runs):
    start, closed, canvases, traces, _ = runs
    assert traces.num_steps.max() > 3
    for row in range(200):
        length = canvases.length[row]
        flags = canvases.anchored[row, :length]
        kept = canvases.tokens[row, :length][flags]
        np.testing.assert_array_equal(kept, start.tokens[row, : start.length[row]])
        gap = np.cumsum(flags)[~flags]
        assert not closed[row, gap].any()


def test_the_trace_replays_the_sample(runs):
    start, _, canvases, traces, _ = runs
    for row in range(200):
        made = start.tokens[row, : start.length[row]].tolist()
        steps = traces.num_steps[row]
        for slot, token in zip(
            traces.slot[row, :steps], traces.token[row, :steps], strict=True
        ):
            made.insert(slot, token)
        assert made == canvases.tokens[row, : canvases.length[row]].tolist()
        assert (traces.slot[row, steps:] == -1).all()
        assert (traces.token[row, steps:] == -1).all()


def test_the_trace_is_in_order_of_time(runs):
    _, _, canvases, traces, times = runs
    steps = sampling.insertion_steps(
        sampling.Samples(canvases.tokens, canvases.length, traces, canvases.anchored)
    )
    for row in range(200):
        new = steps[row] >= 0
        order = np.argsort(steps[row][new])
        came = times.insert[row][new][order]
        assert (np.diff(came) >= 0).all()
        # Within a leap from left to right.
        same = np.diff(came) == 0
        assert (np.diff(np.flatnonzero(new)[order])[same] > 0).all()


def test_times(runs):
    _, _, canvases, _, times = runs
    new = (np.arange(SIZE) < canvases.length[:, None]) & ~canvases.anchored
    assert (times.insert[~new] == 0).all()
    assert (times.reveal[~new] == 0).all()
    assert (times.insert[new] > 0).all()
    # A mask stands for a leap at least; none comes in the last one.
    assert (times.reveal[new] > times.insert[new] + 0.5 / 12).all()
    assert times.insert.max() < 1
    np.testing.assert_allclose(
        times.reveal * 12, np.round(times.reveal * 12), atol=1e-5
    )


@functools.cache
def _many_masks(confidence="none", **options):
    """Samples of ten tokens whose masks come at once, revealed at rate 1."""
    size = 10

    def denoise(canvas, time):
        place = jnp.arange(size)
        return MaskedRates(
            # The further left, the surer.
            token=jnp.stack([2.0 - 0.2 * place, 0 * place, 0 * place - 1], axis=1),
            insert=jnp.where(
                (canvas.length < size) & (jnp.arange(size + 1) == 0), 1e3, 0.0
            ),
            unmask=jnp.ones(size),
        )

    return _draws(
        denoise,
        _empty(size),
        200,
        mask_id=3,
        num_steps=40,
        confidence=confidence,
        **options,
    )


WITHOUT_HAZARD = {"count_without_hazard": True, "temperature": 50.0, "top_k": 2}


@pytest.mark.parametrize("confidence", ["top_prob", "entropy"])
def test_the_surest_masks_are_revealed_first(confidence):
    _, _, times = _many_masks(confidence)
    assert (np.diff(times.reveal, axis=1) >= 0).all()
    # Control: without a confidence, in any order.
    _, _, times = _many_masks()
    assert abs(np.mean(np.diff(times.reveal, axis=1) > 0) - 0.5) < 0.1


def test_each_confidence_has_its_own_surest_mask():
    # Mask 0: best token likeliest; 1: leads by most; 2: least entropy.
    probs = jnp.array(
        [
            [0.52, 0.46, 0.01, 0.01],
            [0.50, 0.17, 0.17, 0.16],
            [0.51, 0.49, 0.0, 0.0],
        ]
    )
    denoise = lambda canvas, time: MaskedRates(
        token=jnp.log(probs + 1e-12),
        insert=jnp.zeros(4),
        unmask=jnp.ones(3),
    )
    start = Canvas(jnp.full(3, 4), jnp.int32(3), jnp.zeros(3, bool))
    for confidence, first in (("top_prob", 0), ("prob_diff", 1), ("entropy", 2)):
        _, _, times = _draws(
            denoise, start, 50, mask_id=4, num_steps=40, confidence=confidence
        )
        others = np.delete(times.reveal, first, axis=1)
        assert (times.reveal[:, [first]] <= others).all()
        assert (times.reveal[:, [first]] < others).any()


def test_confidence_keeps_the_number_of_reveals():
    plain, surest = (_many_masks(name)[2].reveal for name in ("none", "top_prob"))
    # Reveal times of the linear schedule are uniform.
    assert abs(plain.mean() - 0.5) < 0.03
    assert abs(surest.mean() - 0.5) < 0.03
    # The published count reaches the end with about 1/e of the masks.
    late = _many_masks("top_prob", **WITHOUT_HAZARD)[2].reveal
    assert np.mean(surest == 1) < 0.05
    assert abs(np.mean(late == 1) - np.exp(-1)) < 0.06


def test_options_shape_the_tokens():
    # Even odds among the two most probable.
    canvases, _, _ = _many_masks("top_prob", **WITHOUT_HAZARD)
    assert set(np.unique(canvases.tokens)) == {0, 1}
    assert abs(canvases.tokens.mean() - 0.5) < 0.05
    # Control: otherwise all come.
    canvases, _, _ = _many_masks()
    assert set(np.unique(canvases.tokens)) == {0, 1, 2}
    assert canvases.tokens[:, 0].mean() < 0.3


def test_errors():
    canvas = _empty(2)
    for options, message in (
        ({"num_steps": 1}, "num_steps must be at least 2, got 1"),
        ({"max_length": 3}, "max_length 3 is larger than the canvas of 2 tokens"),
        ({"confidence": "best"}, "confidence must be one of .* got 'best'"),
    ):
        with pytest.raises(ValueError, match=message):
            _sample(jax.random.key(0), None, canvas, **options)


def test_hazards_add_up_to_the_law():
    # The clocks that leaps are measured with are the integrals of the hazards.
    edges = np.linspace(0, 0.99, 2001)
    middle = (edges[1:] + edges[:-1]) / 2
    law = flex_law.kumaraswamy(2.0)
    total = np.sum(np.diff(edges) * np.asarray(law.insert_hazard(middle)))
    clock = event_times.cumulative_base_hazard(0.99, 2.0)
    np.testing.assert_allclose(total, clock, rtol=1e-4)
    np.testing.assert_allclose(law.unmask_clock(0.99), clock)
