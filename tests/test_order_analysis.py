"""When tokens come against where they lie."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from insertion_jax import order_analysis, sampling
from insertion_jax.methods import flex_method, insertion_method
from insertion_jax.types import Batch, Canvas, Method, Trace

SIZE = 6


def test_a_monotone_relation_correlates_by_one():
    places = np.tile(np.arange(5.0), (4, 1))
    values = np.exp(-places)
    values[:, 4] = np.nan  # does not count
    relation = order_analysis.relate(values, places)
    correlation = relation.correlation
    assert correlation.value == pytest.approx(-1)
    assert (correlation.low, correlation.high) == pytest.approx((-1, -1))
    assert [level.place for level in relation.levels] == [0, 1, 2, 3]
    means = [level.value.value for level in relation.levels]
    np.testing.assert_allclose(means, values[0, :4])


def test_unrelated_values_do_not_correlate():
    rng = np.random.default_rng(0)
    places = rng.integers(0, 5, (500, 8)).astype(float)
    values = rng.random((500, 8))
    unrelated = order_analysis.relate(values, places).correlation
    assert unrelated.low < 0 < unrelated.high
    # The same interval leaves 0 out where there is the slightest relation.
    related = order_analysis.relate(values + 0.05 * places, places).correlation
    assert related.low > 0


def test_sequences_without_an_order_have_no_say():
    values = np.array([[0.0, 1.0, np.nan], [2.0, 2.0, 2.0], [1.0, 0.0, 2.0]])
    places = np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [1.0, 1.0, 1.0]])
    relation = order_analysis.relate(values, places)
    assert relation.correlation.value == pytest.approx(1)
    assert relation.correlation.num_examples == 1
    # The mean at a place is over tokens: 0, 2 at place 0; 1, 2, 1, 0, 2 at place 1.
    means = [level.value.value for level in relation.levels]
    np.testing.assert_allclose(means, [1.0, 6 / 5, 2.0])


def test_nothing_to_relate():
    nothing = np.full((3, 4), np.nan)
    relation = order_analysis.relate(nothing, nothing)
    assert np.isnan(relation.correlation.value)
    assert relation.levels == []


def backwards(num_anchored=0):
    """A method that writes all positions from right to left, and knows it."""

    def sample(params, example, key, *, temperature, top_p, greedy):
        step = jnp.arange(SIZE)
        anchored = step < num_anchored
        count = example.length - num_anchored
        trace = Trace(
            slot=jnp.where(step < count, num_anchored, -1),
            token=example.tokens,
            num_steps=count,
            stopped=jnp.array(True),
        )
        return Canvas(example.tokens, example.length, anchored), trace

    def log_rates(params, example):
        return {"insertion": jnp.arange(SIZE) * 1.0}

    return Method(None, None, None, sample, log_rates=log_rates)


def examples(num_rows=5, num_anchored=0):
    tokens = np.tile(np.arange(3, 3 + SIZE), (num_rows, 1))
    return Batch(
        prompt=np.zeros((num_rows, 1), int),
        prompt_mask=np.zeros((num_rows, 1), bool),
        tokens=tokens,
        length=np.full(num_rows, 5),
        anchored=np.arange(SIZE) < np.full((num_rows, 1), num_anchored),
        closed=np.zeros((num_rows, SIZE + 1), bool),
        index=np.arange(num_rows),
    )


def measured(method, rows, places=None):
    measure = order_analysis.make_measurement(
        types.SimpleNamespace(places=places, vocabulary="0123456789"),
        method,
        sampling.SamplingOptions(),
        batch_size=2,
    )
    return measure({}, rows, jax.random.key(0))


def test_the_order_of_a_known_method(tmp_path):
    report = measured(
        backwards(),
        examples(),
        lambda _, tokens, length: {"mirrored": -1.0 * tokens},
    )
    at = report.times["insertion"]
    assert set(at) == {order_analysis.POSITION, "mirrored"}
    assert at[order_analysis.POSITION].correlation.value == pytest.approx(-1)
    assert at["mirrored"].correlation.value == pytest.approx(1)
    levels = at[order_analysis.POSITION].levels
    values = [(level.place, level.value.value) for level in levels]
    assert values == [(0, 1), (1, 0.75), (2, 0.5), (3, 0.25), (4, 0)]
    rates = report.rates["insertion"][order_analysis.POSITION]
    assert rates.correlation.value == pytest.approx(1)
    assert [level.value.value for level in rates.levels] == [-2, -1, 0, 1, 2]

    paths = order_analysis.write(tmp_path, report, {"step": 3}, "title")
    names = [path.name for path in paths]
    assert names == ["orders.json", "orders.jsonl", "orders.png"]
    saved = json.loads(paths[0].read_text())
    assert saved["step"] == 3
    there = saved["times"]["insertion"][order_analysis.POSITION]
    assert there["correlation"]["value"] == pytest.approx(-1)
    assert there["levels"][1]["value"] == 0.75
    lines = [json.loads(line) for line in paths[1].read_text().splitlines()]
    assert len(lines) == 5
    assert lines[0] == {
        "sample": ["3", "4", "5", "6", "7"],
        "anchored": [False] * 5,
        "times": {"insertion": [4, 3, 2, 1, 0]},
        "places": {
            order_analysis.POSITION: [0, 1, 2, 3, 4],
            "mirrored": [-3, -4, -5, -6, -7],
        },
        "target": ["3", "4", "5", "6", "7"],
        "log_rates": {"insertion": [0, 1, 2, 3, 4]},
    }
    assert paths[2].read_bytes().startswith(b"\x89PNG")
    assert "insertion log-rate" in order_analysis.table(report)


def test_anchored_tokens_do_not_count():
    report = measured(backwards(2), examples(num_anchored=2))
    levels = report.times["insertion"][order_analysis.POSITION].levels
    assert [(x.place, x.value.value) for x in levels] == [(2, 1), (3, 0.5), (4, 0)]
    levels = report.rates["insertion"][order_analysis.POSITION].levels
    assert [(x.place, x.value.value) for x in levels] == [(2, -1), (3, 0), (4, 1)]


def test_a_method_without_rates_and_with_times():
    def sample_times(params, example, key, **options):
        canvas, trace = backwards().sample(params, example, key, **options)
        step = jnp.arange(SIZE) * 0.1
        return canvas, trace, {"insertion": 0.5 * step, "reveal": 1 - step}

    method = Method(None, None, None, None, sample_times=sample_times)
    report = measured(method, examples())
    assert report.rates == {}
    found = [
        report.times[name][order_analysis.POSITION].correlation.value
        for name in ("insertion", "reveal")
    ]
    assert found == pytest.approx([1, -1])


def test_learned_rates_of_the_methods():
    """The Insertion Process gives its posterior's logits, LoFlexMDM the logs of b."""
    logits = jnp.array([0.3, -1.0, 2.0, 0.0, 0.0, 0.0])
    insertion = insertion_method.make(
        None,
        types.SimpleNamespace(init=None, apply=lambda *_: logits),
        insertion_method.InsertionConfig(),
    )
    rates = insertion.log_rates({"order": None}, tiny.example())
    np.testing.assert_array_equal(rates["insertion"], logits)
    fixed = insertion_method.InsertionConfig(order="uniform")
    assert insertion_method.make(None, None, fixed).log_rates is None

    pair = (jnp.exp(logits), jnp.exp(-logits))
    events = types.SimpleNamespace(init=None, apply=lambda *_: pair)
    for learns_unmask in (False, True):
        config = flex_method.LoFlexMDMConfig(learns_unmask=learns_unmask)
        method = flex_method.make(None, events, config, mask_id=tiny.VOCAB)
        rates = method.log_rates({"order": None, "policy": None}, tiny.example())
        np.testing.assert_allclose(rates["insertion"], logits, atol=1e-6)
        assert ("reveal" in rates) == learns_unmask
    np.testing.assert_allclose(rates["reveal"], -logits, atol=1e-6)
    config = flex_method.FlexMDMConfig()
    assert flex_method.make(None, None, config, mask_id=9).log_rates is None
