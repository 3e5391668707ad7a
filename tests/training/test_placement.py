import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from insertion_jax.training import data, placement, state

CONFIG = state.OptimizerConfig(
    total_steps=40,
    learning_rate=0.03,
    warmup_steps=2,
    clip_norm=0.5,
    weight_decay=0.1,
    muon_rms=0.3,
    group_scale={"order": 0.1},
    ema_decay=0.9,
    ema_start_step=3,
)
NUM_STEPS = 12


def _init():
    example = jax.tree.map(lambda x: x[0], toy.examples())
    optimizer = state.make_optimizer(CONFIG)
    return state.init_state(jax.random.key(1), toy.make(), example, optimizer)


def _run(place, *, chunk=4, step_with=lambda step: step, change=lambda batch: batch):
    optimizer = state.make_optimizer(CONFIG)
    step = step_with(state.make_train_step(toy.make(), optimizer, CONFIG))
    train_chunk = place.compile(step)
    now = place.put_state(_init())
    metrics = []
    for start in range(0, NUM_STEPS, chunk):
        batches = data.make_chunk(
            toy.examples(), seed=0, start_step=start, chunk=chunk, batch_size=16
        )
        now, out = train_chunk(now, place.put_chunk(change(batches)))
        metrics.append(place.fetch(out))
    joined = {k: np.concatenate([m[k] for m in metrics]) for k in metrics[0]}
    return _host(place.saveable(now)), joined


def _host(tree):
    tree = tree._replace(key=jax.random.key_data(tree.key))
    return jax.tree.map(np.asarray, tree)


def _difference(a, b):
    return max(
        float(np.max(np.abs(np.subtract(x, y, dtype=np.float64))))
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.fixture(scope="module")
def reference():
    return _run(placement.make("pmap", devices=jax.devices()[:1]))


@pytest.mark.parametrize("name", placement.NAMES)
def test_devices_may_come_in_any_order(reference, name):
    """As on TPUs, where the order by topology is not the order by number."""
    devices = [jax.devices()[i] for i in (0, 1, 3, 2)]
    now, _ = _run(placement.make(name, devices=devices))
    assert _difference(now.params, reference[0].params) < 1e-6


@pytest.mark.parametrize(
    ("name", "fsdp", "num_devices"),
    [
        ("pmap", False, 8),
        ("sharded", False, 1),
        ("sharded", False, 8),
        ("sharded", True, 8),
    ],
)
def test_placements_agree(reference, name, fsdp, num_devices):
    assert len(jax.devices()) == 8
    place = placement.make(
        name, fsdp=fsdp, devices=jax.devices()[:num_devices], min_shard_size=32
    )
    now, metrics = _run(place)
    assert int(now.step) == NUM_STEPS
    assert metrics["loss"].shape == (NUM_STEPS,)
    for key, values in reference[1].items():
        np.testing.assert_allclose(metrics[key], values, rtol=2e-6, err_msg=key)
    assert _difference(now.params, reference[0].params) < 3e-6
    assert _difference(now.ema_params, reference[0].ema_params) < 3e-6
    np.testing.assert_array_equal(now.key, reference[0].key)


def test_forgotten_sum_is_seen(reference):
    """Negative control: each device follows its own rows."""

    def without_sum(step):
        return lambda now, batch, all_sum: step(now, batch)

    now, metrics = _run(placement.make("pmap"), step_with=without_sum)
    assert _difference(metrics["loss"], reference[1]["loss"]) > 0.1
    assert _difference(now.params, reference[0].params) > 0.01


def test_mean_of_clipped_means_is_seen(reference):
    """Negative control: means, norm and clipping on each device, averaged after."""

    def mean_first(step):
        def wrapped(now, batch, all_sum):
            count = all_sum(jnp.float32(1))
            new, metrics = step(now, batch)
            mean = lambda tree: jax.tree.map(lambda x: x / count, all_sum(tree))
            new = new._replace(params=mean(new.params), ema_params=mean(new.ema_params))
            return new, mean(metrics)

        return wrapped

    now, metrics = _run(placement.make("pmap"), step_with=mean_first)
    assert _difference(metrics["grad_norm"], reference[1]["grad_norm"]) > 0.1
    assert _difference(now.params, reference[0].params) > 0.003


def test_noise_by_local_row_is_seen(reference):
    """Negative control: rows numbered on each device draw each other's noise."""
    place = placement.make("pmap")
    _, metrics = _run(place, change=lambda b: b._replace(index=b.index % 2))
    assert _difference(metrics["loss"], reference[1]["loss"]) > 0.01


@pytest.mark.parametrize("name", placement.NAMES)
def test_chunk_does_not_matter(reference, name):
    place = placement.make(name, devices=jax.devices()[:1])
    now, metrics = _run(place, chunk=1)
    assert _difference(now.params, reference[0].params) < 3e-6
    assert _difference(metrics["loss"], reference[1]["loss"]) < 1e-5


def test_fsdp_splits_the_state():
    place = placement.make("sharded", fsdp=True, min_shard_size=32)
    now = place.put_state(_init())
    embed = now.params["policy"]["embed"]
    assert embed.shape == (toy.VOCABULARY, toy.WIDTH)
    assert embed.addressable_shards[0].data.shape == (toy.VOCABULARY, toy.WIDTH // 8)
    assert now.params["order"]["scale"].sharding.is_fully_replicated
    states = now.opt_state[1].inner_states
    assert states["other"].inner_state.mu["policy"]["embed"].sharding == embed.sharding
    mix = now.params["policy"]["mix"]["kernel"]
    momentum = states["hidden"].inner_state[0].mu["policy"]["mix"]["kernel"]
    assert momentum.sharding == mix.sharding
    assert not mix.sharding.is_fully_replicated


@pytest.mark.parametrize("name", placement.NAMES)
def test_state_is_donated_and_never_copied_from_the_caller(name):
    place = placement.make(name)
    step = state.make_train_step(toy.make(), state.make_optimizer(CONFIG), CONFIG)
    mine = _init()
    now = place.put_state(mine)
    batches = data.make_chunk(
        toy.examples(), seed=0, start_step=0, chunk=4, batch_size=16
    )
    # Nothing in the chunk goes to or from the host implicitly.
    batches = place.put_chunk(batches)
    train_chunk = place.compile(step)
    with jax.transfer_guard("disallow"):
        new, metrics = train_chunk(now, batches)
        again, _ = train_chunk(new, batches)
    assert now.params["policy"]["out"].is_deleted()
    assert not mine.params["policy"]["out"].is_deleted()
    assert place.fetch(metrics)["loss"].shape == (4,)
    assert int(again.step) == 8


@pytest.mark.parametrize("name", placement.NAMES)
def test_batch_size_message(name):
    place = placement.make(name)
    place.check_batch_size(24)
    with pytest.raises(ValueError, match=r"size 21 .* 8 devices; .* are 16 and 24\."):
        place.check_batch_size(21)
    with pytest.raises(ValueError, match="the smallest size allowed is 8"):
        place.check_batch_size(5)


def test_unknown_placements():
    with pytest.raises(ValueError, match="'tmap'; allowed are pmap, sharded"):
        placement.make("tmap")
    with pytest.raises(ValueError, match="use placement 'sharded'"):
        placement.make("pmap", fsdp=True)
