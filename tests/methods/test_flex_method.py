import flexible_tables
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
import tiny

from insertion_jax.core import schedules
from insertion_jax.core.leaps import MaskedRates
from insertion_jax.methods import (
    flex_law,
    flex_masked_diffusion,
    flex_method,
    flex_regulariser,
)
from insertion_jax.methods.flex_method import FlexMDMConfig, LoFlexMDMConfig
from insertion_jax.networks import flexible
from insertion_jax.networks.rate_heads import RateConfig
from insertion_jax.types import NUM_SPECIALS, Batch, Network

VOCAB, SIZE = tiny.VOCAB, 5
MASK = VOCAB


def _batch():
    """Empty; one token; all free; all anchored; anchors, a closed gap and a tail."""
    lengths = np.array([0, 1, 5, 3, 4], np.int32)
    tokens = np.random.default_rng(0).integers(NUM_SPECIALS, VOCAB, (5, SIZE))
    anchored = np.zeros((5, SIZE), bool)
    anchored[3, :3] = True
    anchored[4, [0, 2]] = True
    closed = np.zeros((5, SIZE + 1), bool)
    closed[4, 0] = True
    return Batch(
        prompt=np.array([[4, 5, 0]] * 5, np.int32),
        prompt_mask=np.array([[True, True, False]] * 5),
        tokens=tokens.astype(np.int32),
        length=lengths,
        anchored=anchored,
        closed=closed,
        index=np.arange(5, dtype=np.int32),
    )


def _row(number):
    return jax.tree.map(lambda x: x[number], _batch())


def _cheap_denoiser(power=1.0):
    """A function of the counts of tokens on the canvas and in the prompt."""

    def init(key, example):
        keys = jax.random.split(key, 3)
        return {
            "insert": jax.random.normal(keys[0], (VOCAB + 1,)),
            "unmask": jax.random.normal(keys[1], (VOCAB + 1,)),
            "token": jax.random.normal(keys[2], (VOCAB + 1, VOCAB)),
        }

    def apply(params, prompt, prompt_mask, dropout_key=None):
        def denoise(canvas, time, key=None):
            place = jnp.arange(canvas.tokens.shape[0] + 1)
            inside = place[:-1] < canvas.length
            counts = jnp.zeros(VOCAB + 1).at[canvas.tokens].add(inside)
            counts = counts.at[prompt].add(prompt_mask) + time
            if dropout_key is not None:
                key = dropout_key if key is None else key
                counts += 0.3 * jax.random.normal(key, counts.shape)
            token = jnp.tile(counts @ params["token"], (place.shape[0] - 1, 1))
            insert = jnp.exp(power * jnp.sin(counts @ params["insert"] + place))
            unmask = jnp.exp(power * jnp.sin(counts @ params["unmask"] + place[:-1]))
            is_content = jnp.arange(VOCAB) >= NUM_SPECIALS
            return MaskedRates(jnp.where(is_content, token, -1e9), insert, unmask)

        return denoise

    return Network(init, apply)


def _cheap_events(power=1.0):
    def apply(params, example, time, dropout_key=None):
        noise = 0.0 if dropout_key is None else jax.random.normal(dropout_key)
        phase = params["order"][:, example.tokens] + 0.1 * noise + time
        return tuple(jnp.exp(power * jnp.sin(phase)))

    return Network(lambda key, _: {"order": jax.random.normal(key, (2, VOCAB))}, apply)


def _make(config, power=1.0):
    learned = isinstance(config, LoFlexMDMConfig)
    events = _cheap_events(power) if learned else None
    denoiser = _cheap_denoiser(power)
    method = flex_method.make(denoiser, events, config, mask_id=MASK)
    return method, tiny.random_params(method.init, _row(0))


FEW = {"bound_samples": 3, "sampler_steps": 4}
CONFIGS = {
    "fixed": (
        FlexMDMConfig(
            num_times=2,
            insert_schedule="polynomial",
            insert_parameters=(2.0,),
            unmask_schedule="sine",
            confidence="top_prob",
            **FEW,
        ),
        1.0,
    ),
    "learned": (
        LoFlexMDMConfig(
            num_samples=3,
            learns_unmask=True,
            rates_see_time=True,
            share_dropout=False,
            normalisation="paper",
            shape=0.5,
            kl_weight=1.0,
            **FEW,
        ),
        12.0,  # rates between exp(-12) and exp(12): they have run away
    ),
}


@pytest.fixture(scope="module", params=CONFIGS)
def runs(request):
    """The method's name and all that it gives for every kind of row."""
    method, params = _make(*CONFIGS[request.param])
    batch = _batch()
    keys = jax.random.split(jax.random.key(1), (3, 5))

    @tables.jit
    def everything(params, keys):
        loss = jax.value_and_grad(method.loss, has_aux=True)
        losses = jax.vmap(loss, (None, 0, 0, None))(params, batch, keys[0], 0)
        bounds = jax.vmap(method.bound, (None, 0, 0))(params, batch, keys[1])
        samples = jax.vmap(method.sample, (None, 0, 0))(params, batch, keys[2])
        return losses, bounds, samples

    return request.param, *jax.tree.map(np.asarray, everything(params, keys))


def test_all_is_finite(runs):
    _, losses, bounds, _ = runs
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((losses, bounds)))


def test_losses_add_up(runs):
    name, ((losses, info), grads), bounds, _ = runs
    total = info["token"] + info["unmask"] + info["insert"]
    np.testing.assert_allclose(info["elbo"], -total, rtol=1e-5)
    for part in ("token", "unmask", "insert"):
        assert (info[part] >= 0).all()
    assert (bounds["elbo"] <= 0).all()
    # Nothing to insert: it only costs that nothing was.
    for row in (0, 3):
        assert info["token"][row] == info["unmask"][row] == 0
    learned = name != "fixed"
    groups = {"policy", "order"} if learned else {"policy"}
    assert set(grads) == groups
    for group in groups:
        sizes = [np.abs(x).max() for x in jax.tree.leaves(grads[group])]
        assert max(sizes) > 1e-6
    if learned:
        # Rows without events leave their rates alone.
        for row in (0, 3):
            assert not grads["order"]["order"][row].any()
        assert (info["insert_rate_least"] <= info["insert_rate_most"]).all()
        # Samples of rows without events differ by their dropout alone.
        noise = info["value_variance"][[0, 3]]
        assert (noise > 1e-6).all()
        assert (losses[[1, 2, 4]] != total[[1, 2, 4]]).all()
    else:
        np.testing.assert_allclose(losses, total, rtol=1e-5)


def test_samples_keep_what_is_anchored(runs):
    _, _, _, (canvases, traces) = runs
    batch = _batch()
    assert (canvases.length == batch.anchored.sum(axis=1) + traces.num_steps).all()
    for row in range(5):
        made = canvases.tokens[row][canvases.anchored[row]]
        np.testing.assert_array_equal(made, batch.tokens[row][batch.anchored[row]])
        inside = canvases.tokens[row, : canvases.length[row]]
        assert (inside >= NUM_SPECIALS).all()
        assert (inside < VOCAB).all()


@pytest.mark.parametrize("rates_see_time", [False, True])
def test_networks_learn_in_every_part(rates_see_time):
    # Those of the package, on a trunk that both share; with all that keys are split for.
    config = LoFlexMDMConfig(
        learns_unmask=True,
        rates_see_time=rates_see_time,
        share_dropout=False,
        num_times=2,
        **FEW,
    )
    *networks, both = flexible.make_shared(
        tiny.config(num_layers=2, width=8, dropout=0.1),
        VOCAB,
        RateConfig(),
        RateConfig(low=1.01),
        learns_unmask=True,
        order_sees_time=rates_see_time,
    )
    method = flex_method.make(*networks, config, mask_id=MASK, both=both)
    params = tiny.random_params(method.init, _row(2))
    assert set(params["order"]) == {"order_insert", "order_unmask"}
    grads = tables.jit(jax.grad(method.loss, has_aux=True))(
        params, _row(4), jax.random.key(3), 0
    )[0]
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path
    insert, unmask = networks[1].apply(params["policy"] | params["order"], _row(4), 0.0)
    rates = method.log_rates(params, _row(4))
    np.testing.assert_array_equal(rates["insertion"], jnp.log(insert))
    np.testing.assert_array_equal(rates["reveal"], jnp.log(unmask))


def test_sampling_reads_nothing_of_the_target():
    config = CONFIGS["fixed"][0]
    _, params = _make(config)
    sample = flex_method.timed_sampler(_cheap_denoiser(), config, mask_id=MASK)
    row = _row(4)
    other = row._replace(
        tokens=jnp.where(row.anchored, row.tokens, 6), length=jnp.int32(5)
    )
    key = jax.random.key(6)
    run = tables.jit(
        lambda row: sample(params, row, jax.random.clone(key), greedy=True)
    )
    canvas, trace, times = run(row)
    jax.tree.map(np.testing.assert_array_equal, (canvas, trace, times), run(other))
    # Of what it made it knows when it came.
    assert np.count_nonzero(times.reveal) == trace.num_steps > 0


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (FlexMDMConfig, {"normalisation": "sum"}, r"one of \('elbo', .* got 'sum'"),
        (FlexMDMConfig, {"confidence": "best"}, r"one of \('none', .* got 'best'"),
        (FlexMDMConfig, {"insert_schedule": "x"}, r"one of \('linear', .* got 'x'"),
        (FlexMDMConfig, {"num_times": 0}, "num_times is 0, but must be at least 1"),
        (FlexMDMConfig, {"sampler_steps": 1}, "sampler_steps is 1, but must be at"),
        (FlexMDMConfig, {"time_exponent": 0.5}, "time_exponent is 0.5, but must be at"),
        (FlexMDMConfig, {"count_without_hazard": True}, "it needs a confidence"),
        (LoFlexMDMConfig, {"num_samples": 1}, "num_samples of at least 2, got 1"),
        (LoFlexMDMConfig, {"shape": 0.0}, "shape is 0.0, but must be positive"),
        (LoFlexMDMConfig, {"kl_weight": -1}, "kl_weight is -1, but must be at least"),
    ],
)
def test_config_errors(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_event_rates_go_with_a_learned_law_alone():
    denoiser, events = _cheap_denoiser(), _cheap_events()
    with pytest.raises(ValueError, match="LoFlexMDMConfig goes with a network"):
        flex_method.make(denoiser, None, LoFlexMDMConfig(), mask_id=MASK)
    for options in ({"events": events}, {"events": None, "both": lambda *_: None}):
        with pytest.raises(ValueError, match="FlexMDMConfig goes without a network"):
            flex_method.make(denoiser, config=FlexMDMConfig(), mask_id=MASK, **options)


# What the method passes on to its parts.


def test_the_loss_is_normalised_as_asked():
    key = jax.random.key(0)
    row = _row(4)

    def loss(normalisation, padded_length=None):
        config = FlexMDMConfig(normalisation=normalisation)
        method = flex_method.make(
            _cheap_denoiser(), None, config, mask_id=MASK, padded_length=padded_length
        )
        params = tiny.random_params(method.init, row)
        value, _ = tables.jit(method.loss)(params, row, jax.random.clone(key), 0)
        return float(value)

    bound, paper = loss("elbo"), loss("paper")
    assert loss("flexmdm") == pytest.approx(bound / (SIZE + 3), rel=1e-5)
    assert loss("flexmdm", 100) == pytest.approx(bound / 100, rel=1e-5)
    # The mean over masks and a share of the insertions: between the other two.
    assert bound / 100 < loss("paper", 100) < paper < bound


def test_penalties_are_weighted_one_by_one():
    key = jax.random.key(0)
    row = _row(2)
    free = jnp.arange(SIZE) < row.length
    names = ("mean", "boundary", "kl")
    noisy = _cheap_events()
    quiet = Network(
        noisy.init, lambda params, row, t, _=None: noisy.apply(params, row, t)
    )

    def loss(**weights):
        weights = {f"{name}_weight": weights.get(name, 0.0) for name in names}
        config = LoFlexMDMConfig(learns_unmask=True, **weights)
        method = flex_method.make(_cheap_denoiser(), quiet, config, mask_id=MASK)
        params = tiny.random_params(method.init, row)
        loss_of = tables.jit(method.loss)
        value, info = loss_of(params, row, jax.random.clone(key), 0)
        return float(value), jax.tree.map(float, info), params

    nothing, info, params = loss()
    rates = quiet.apply(params["order"], row, 0.0)
    for name, weight in (("mean", 0.5), ("boundary", 3.0), ("kl", 2.0)):
        value, more, _ = loss(**{name: weight})
        # Whatever the weights are, the parts are logged without them.
        assert more[f"penalty_{name}"] == pytest.approx(info[f"penalty_{name}"])
        part = weight * info[f"penalty_{name}"]
        assert value - nothing == pytest.approx(part, rel=1e-3)
        assert part > 0
    each = [flex_regulariser.penalties(jax.random.key(1), 1.0, b, free) for b in rates]
    # These two are the same on every grid of times.
    for name in ("boundary", "kl"):
        parts = [float(getattr(penalties, name)) for penalties in each]
        assert parts[0] != pytest.approx(parts[1], rel=0.1)
        assert info[f"penalty_{name}"] == pytest.approx(sum(parts), rel=1e-4)


NOTHING = {"policy": {}}  # parameters
UNEQUAL = {
    "insert_schedule": "polynomial",
    "insert_parameters": (2.0,),
    "unmask_schedule": "sine",
}


def _one_symbol(q, schedule):
    """As a network, the best denoiser of "A" with probability q, else nothing."""

    def denoise(canvas, time, key=None):
        come = schedule.value(time)
        insert = jnp.where(canvas.length == 0, q * (1 - come) / (1 - q * come), 0.0)
        return MaskedRates(
            jnp.zeros((1, 1)), insert * jnp.array([1.0, 0.0]), jnp.ones(1)
        )

    return Network(lambda *_: {}, lambda *_: denoise)


def _example_of(length):
    return Batch(
        prompt=jnp.zeros(0, jnp.int32),
        prompt_mask=jnp.zeros(0, bool),
        tokens=jnp.zeros(1, jnp.int32),
        length=jnp.int32(length),
        anchored=jnp.zeros(1, bool),
        closed=jnp.zeros(2, bool),
        index=jnp.int32(0),
    )


def test_each_schedule_is_that_of_its_event():
    """The bound is the log-probability under any schedules, if none is mistaken."""
    q = 0.4
    insert, unmask = schedules.polynomial(2.0), schedules.sine()
    config = FlexMDMConfig(bound_samples=2_000, sampler_steps=200, **UNEQUAL)

    def method_of(schedule):
        return flex_method.make(_one_symbol(q, schedule), None, config, mask_id=1)

    def bounds(schedule):
        bound = jax.vmap(method_of(schedule).bound, (None, None, 0))
        keys = jax.random.split(jax.random.key(0), (2, 100))

        def run(length, keys):
            return bound(NOTHING, _example_of(length), keys)["elbo"].mean()

        run = tables.jit(run)
        return np.array([run(length, keys[length]) for length in (1, 0)])

    exact = np.log([q, 1 - q])
    # With a token the estimate's error is about 0.03, without none.
    assert (abs(bounds(insert) - exact) < [0.12, 0.002]).all()
    # Control: a denoiser made for the other event's schedule.
    assert abs(bounds(unmask)[1] - exact[1]) > 0.1

    sample = jax.vmap(method_of(insert).sample_times, (None, None, 0))
    keys = jax.random.split(jax.random.key(1), 4_000)
    canvas, _, times = tables.jit(sample)(NOTHING, _example_of(0), keys)
    came = np.asarray(canvas.length) == 1
    assert abs(came.mean() - q) < 0.04
    # Under t^2 the mean time is 2/3, under the sine 1 - 2/pi.
    inserted = np.asarray(times["insertion"])[came, 0]
    assert abs(inserted.mean() - 2 / 3) < 0.03
    keys = jax.random.split(jax.random.key(2), 4_000)
    law = jax.vmap(lambda key: schedules.sample(key, insert, unmask, 1))
    _, revealed = tables.jit(law)(keys)
    assert abs(np.asarray(times["reveal"])[came].mean() - revealed.mean()) < 0.03
    swapped = jax.vmap(lambda key: schedules.sample(key, unmask, insert, 1))
    _, others = tables.jit(swapped)(jax.random.clone(keys))
    assert abs(others.mean() - revealed.mean()) > 0.03  # control


@pytest.mark.parametrize("t", [1e-4, 1 - 1e-4])
@pytest.mark.parametrize("rate", [1e-3, 100.0])
def test_losses_at_either_end_of_time_are_finite(t, rate):
    row = _row(4)
    denoise = flexible_tables.hashed(SIZE, VOCAB)
    law = flex_law.kumaraswamy(1.0)

    def loss(rates, events):
        surrogate, info = flex_masked_diffusion.surrogate_from_states(
            denoise,
            jax.tree.map(lambda b: b[None], rates),
            row.tokens,
            row.length,
            jnp.array([t]),
            jnp.ones(1),
            events,
            law=law,
            mask_id=MASK,
            anchored=row.anchored,
            closed=row.closed,
        )
        return surrogate, info

    rates = (jnp.full(SIZE, rate), jnp.full(SIZE, 1 / rate))
    keys = jax.random.split(jax.random.key(0), (1, 2))
    events = jax.vmap(jax.vmap(law.draw, (0, None, None)), (0, None, None))(
        keys, *rates
    )
    (value, info), grads = tables.jit(jax.value_and_grad(loss, has_aux=True))(
        rates, events
    )
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((value, info, grads)))
