import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
import tiny

from insertion_jax.core.leaps import MaskedRates
from insertion_jax.methods import flex_method
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


def test_networks_learn_in_every_part():
    # Those of the package, on a trunk that both share.
    config = LoFlexMDMConfig(learns_unmask=True, **FEW)
    networks = flexible.make_shared(
        tiny.config(num_layers=1, width=8),
        VOCAB,
        RateConfig(),
        RateConfig(low=1.01),
        learns_unmask=True,
    )
    method = flex_method.make(*networks, config, mask_id=MASK, shares_trunk=True)
    params = tiny.random_params(method.init, _row(2))
    assert set(params["order"]) == {"order_insert", "order_unmask"}
    grads = tables.jit(jax.grad(method.loss, has_aux=True))(
        params, _row(4), jax.random.key(3), 0
    )[0]
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path


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
    with pytest.raises(ValueError, match="FlexMDMConfig goes without a network"):
        flex_method.make(denoiser, events, FlexMDMConfig(), mask_id=MASK)
