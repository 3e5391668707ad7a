import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
import toy

from insertion_jax import types
from insertion_jax.networks import canvas, flexible, order, trajectory
from insertion_jax.networks.rate_heads import RateConfig
from insertion_jax.training import state


def _batch(num_rows=8):
    return jax.tree.map(lambda x: x[:num_rows], toy.examples())


def _start(config, method=None):
    method = method or toy.make()
    optimizer = state.make_optimizer(config)
    example = jax.tree.map(lambda x: x[0], toy.examples())
    start = state.init_state(jax.random.key(0), method, example, optimizer)
    return start, jax.jit(state.make_train_step(method, optimizer, config))


def test_warmup_and_cosine():
    config = state.OptimizerConfig(total_steps=30, learning_rate=2.0, warmup_steps=10)
    rates = [float(state.learning_rate_at(config, step)) for step in (0, 5, 10, 20, 30)]
    np.testing.assert_allclose(rates, [0.0, 1.0, 2.0, 1.0, 0.0], atol=1e-6)
    assert float(state.learning_rate_at(config, 99)) == pytest.approx(0.0, abs=1e-6)


def test_constant_without_warmup():
    config = state.OptimizerConfig(
        total_steps=0, learning_rate=2.0, schedule="constant"
    )
    assert [float(state.learning_rate_at(config, s)) for s in (0, 9)] == [2.0, 2.0]


def test_schedule_equals_optax():
    config = state.OptimizerConfig(total_steps=50, learning_rate=0.3, warmup_steps=7)
    reference = optax.warmup_cosine_decay_schedule(0.0, 0.3, 7, 50)
    steps = np.arange(60)
    np.testing.assert_allclose(
        jax.vmap(lambda s: state.learning_rate_at(config, s))(steps),
        [reference(s) for s in steps],
        atol=1e-6,
    )


def test_optimizer_equals_adamw():
    config = state.OptimizerConfig(
        total_steps=20, learning_rate=0.1, weight_decay=0.5, clip_norm=0.7, b2=0.9
    )
    reference = optax.chain(
        optax.clip_by_global_norm(0.7),
        optax.adamw(optax.cosine_decay_schedule(0.1, 20), b2=0.9, weight_decay=0.5),
    )
    params = {"policy": jnp.array([1.0, -2.0]), "order": jnp.array([3.0])}

    def run(optimizer):
        now, opt_state = params, optimizer.init(params)
        for scale in (1.0, -3.0, 0.2):
            grads = jax.tree.map(lambda x: scale * jnp.sin(x), now)  # noqa: B023
            updates, opt_state = optimizer.update(grads, opt_state, now)
            now = optax.apply_updates(now, updates)
        return now

    got, want = run(state.make_optimizer(config)), run(reference)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, want)


def test_muon_updates_hidden_matrices_alone():
    """By orthogonal matrices of the root mean square asked for; the rest by AdamW."""
    options = {"total_steps": 0, "schedule": "constant", "learning_rate": 0.1}
    rng = np.random.default_rng(0)
    params = {
        "policy": {
            "block": {
                "qkv": {"kernel": rng.normal(size=(8, 24)).astype(np.float32)},
                "down": {"kernel": rng.normal(size=(24, 8)).astype(np.float32)},
            },
            "content": {"kernel": rng.normal(size=(8, 5)).astype(np.float32)},
            "embed": {"embedding": rng.normal(size=(9, 8)).astype(np.float32)},
            "norm": {"scale": np.ones(8, np.float32)},
        },
        "order": np.ones((3, 3), np.float32),  # no layer's: AdamW's, whatever its shape
    }
    grads = jax.tree.map(lambda x: np.sin(x, dtype=np.float32), params)

    def update(**changes):
        optimizer = state.make_optimizer(state.OptimizerConfig(**options, **changes))
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        return updates

    muon, adamw = update(muon_rms=0.6), update()
    hidden = muon["policy"].pop("block")
    adamw["policy"].pop("block")
    jax.tree.map(np.testing.assert_array_equal, muon, adamw)
    for name, of in grads["policy"]["block"].items():
        got, given = hidden[name]["kernel"], of["kernel"]
        assert np.sqrt(np.mean(got**2)) == pytest.approx(0.06, rel=0.2)
        values = np.linalg.svd(got, compute_uv=False)
        assert values.max() < 2 * values.min()
        values = np.linalg.svd(given, compute_uv=False)
        assert values.max() > 2 * values.min()  # control: the gradient's differ
        assert np.mean(got / given < 0) > 0.8  # downhill


@pytest.mark.parametrize(
    ("make", "heads", "between"),
    [
        (canvas.make, {"content", "location", "stop"}, {"slot_state"}),
        (
            trajectory.make,
            {"content", "location", "stop"},
            {"neighbours", "between", "newest", "slot"},
        ),
        (
            lambda *args: flexible.make(*args, RateConfig("exp"), learns_unmask=True),
            {"content", "score"},
            {"token_state"},
        ),
        (order.make, {"logit"}, set()),
    ],
    ids=["canvas", "trajectory", "flexible", "order"],
)
def test_muon_leaves_the_heads_of_every_network(make, heads, between):
    network = make(tiny.everything(True), tiny.VOCAB)
    params = jax.eval_shape(network.init, jax.random.key(0), tiny.example())
    labels = jax.tree_util.tree_leaves_with_path(state._which_are_hidden(params))
    named = [([entry.key for entry in path], label) for path, label in labels]
    kernels = [(path[-2], label) for path, label in named if path[-1] == "kernel"]
    assert {name for name, label in kernels if label == "other"} == heads
    hidden = {name for name, label in kernels if label == "hidden"}
    assert hidden >= {"qkv", "out", "gate", "value", "down", "record"} | between
    assert all(label == "other" for path, label in named if path[-1] != "kernel")


def test_group_scale_holds_for_muon():
    kernel = {"out": {"kernel": jnp.ones((4, 4))}}
    params = {"policy": kernel, "order": kernel}
    config = state.OptimizerConfig(
        total_steps=10, muon_rms=0.2, weight_decay=0.1, group_scale={"order": 0.5}
    )

    def update(config):
        optimizer = state.make_optimizer(config)
        updates, _ = optimizer.update(params, optimizer.init(params), params)
        return {group: updates[group]["out"]["kernel"] for group in updates}

    updates = update(config)
    np.testing.assert_allclose(updates["order"], updates["policy"] / 2, rtol=1e-6)
    without = update(dataclasses.replace(config, weight_decay=0.0))
    decay = config.learning_rate * config.weight_decay  # of ones
    np.testing.assert_allclose(updates["policy"], without["policy"] - decay, rtol=1e-5)


def test_group_scale():
    params = {"policy": jnp.ones(2), "order": jnp.ones(3)}

    def update(group_scale):
        config = state.OptimizerConfig(
            total_steps=10, weight_decay=0.1, group_scale=group_scale
        )
        optimizer = state.make_optimizer(config)
        updates, _ = optimizer.update(params, optimizer.init(params), params)
        return updates

    plain, scaled = update({}), update({"order": 0.01})
    np.testing.assert_array_equal(scaled["policy"], plain["policy"])
    np.testing.assert_allclose(scaled["order"], 0.01 * plain["order"], rtol=1e-6)
    with pytest.raises(ValueError, match="'ordre', but the parameter groups are 'or"):
        update({"ordre": 0.01})


def test_clipping_is_joint():
    params = {"policy": jnp.zeros(1), "order": jnp.zeros(1)}
    config = state.OptimizerConfig(total_steps=10, clip_norm=5.0)
    optimizer = state.make_optimizer(config)
    grads = {"policy": jnp.array([30.0]), "order": jnp.array([40.0])}
    _, opt_state = optimizer.update(grads, optimizer.init(params), params)
    moments = opt_state[1].mu
    np.testing.assert_allclose(moments["policy"], 0.1 * 3.0, rtol=1e-6)
    np.testing.assert_allclose(moments["order"], 0.1 * 4.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schedule": "linear"}, "'linear'; allowed are cosine, constant"),
        ({"warmup_steps": 10}, "more steps than the 10 of warmup_steps"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0"),
        ({"muon_rms": -1.0}, "muon_rms is -1.0, but must be at least 0"),
        ({"muon_rms": math.nan}, "muon_rms is nan"),
    ],
)
def test_config_messages(fields, message):
    with pytest.raises(ValueError, match=message):
        state.OptimizerConfig(total_steps=10, **fields)


def test_average_starts_late():
    config = state.OptimizerConfig(
        total_steps=9, learning_rate=0.1, ema_decay=0.9, ema_start_step=2
    )
    now, step = _start(config)
    for count in range(1, 4):
        before = now
        now, _ = step(now, _batch())
        assert int(now.step) == count
        new = now.params["policy"]["out"]
        average = now.ema_params["out"]
        if count <= 2:
            np.testing.assert_array_equal(average, new)
        else:
            want = 0.9 * before.ema_params["out"] + 0.1 * new
            np.testing.assert_allclose(average, want, rtol=1e-6)
            assert np.abs(average - new).max() > 1e-3


def test_metrics_are_means_over_examples():
    """An unequal split is combined by counts; the mean of means is another number."""
    config = state.OptimizerConfig(total_steps=9)
    now, step = _start(config)
    rows = jax.tree.map(lambda x: x[:16], toy.examples())
    _, whole = step(now, rows)
    parts = [(5, slice(0, 5)), (11, slice(5, 16))]
    losses = [
        (n, float(step(now, jax.tree.map(lambda x: x[rows_], rows))[1]["loss"]))  # noqa: B023
        for n, rows_ in parts
    ]
    by_count = sum(n * loss for n, loss in losses) / 16
    mean_of_means = sum(loss for _, loss in losses) / 2
    assert float(whole["loss"]) == pytest.approx(by_count, rel=1e-6)
    assert float(whole["loss"]) != pytest.approx(mean_of_means, rel=1e-2)
    assert float(whole["elbo"]) == pytest.approx(-by_count, rel=1e-6)
    assert float(whole["length"]) == pytest.approx(rows.length.mean(), rel=1e-6)
    assert float(whole["learning_rate"]) == pytest.approx(3e-4)


def test_metrics_do_not_depend_on_the_order_of_rows():
    now, step = _start(state.OptimizerConfig(total_steps=9))
    _, straight = step(now, _batch())
    _, reversed_ = step(now, jax.tree.map(lambda x: x[::-1], _batch()))
    assert float(straight["loss"]) == pytest.approx(float(reversed_["loss"]), rel=1e-6)
    # Negative control: other numbers of the rows are other noise.
    _, moved = step(now, _batch()._replace(index=np.arange(8, 16)))
    assert float(straight["loss"]) != pytest.approx(float(moved["loss"]), rel=1e-3)


def test_noise_differs_between_steps():
    now, step = _start(state.OptimizerConfig(total_steps=9))
    _, first = step(now, _batch())
    _, second = step(now._replace(step=jnp.int32(1)), _batch())
    assert float(first["loss"]) != pytest.approx(float(second["loss"]), rel=1e-3)


def test_a_method_without_a_policy():
    method = toy.make()._replace(init=lambda key, example: {"order": jnp.ones(1)})
    with pytest.raises(ValueError, match="group 'policy', but the groups are 'order'"):
        _start(state.OptimizerConfig(total_steps=9), method)


def test_reused_keys_are_caught():
    """The check of key reuse is on, else the tests above would show little."""

    def loss(params, example, key, step):
        noise = jax.random.normal(key) + jax.random.uniform(key)
        return noise * params["policy"].sum(), {}

    method = types.Method(
        init=lambda key, example: {"policy": jnp.ones(1)},
        loss=loss,
        bound=None,
        sample=None,
    )
    now, step = _start(state.OptimizerConfig(total_steps=9), method)
    with pytest.raises(jax.errors.KeyReuseError):
        step(now, _batch())
