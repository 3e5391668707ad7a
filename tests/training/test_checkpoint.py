import gc
import logging
import pathlib
import sys
import time

import jax
import numpy as np
import optax
import pytest
import toy

from insertion_jax.training import checkpoint, placement, state

CONFIG = state.OptimizerConfig(total_steps=9, group_scale={"order": 0.1})


def _init(config=CONFIG, width=None):
    example = jax.tree.map(lambda x: x[0], toy.examples())
    new = state.init_state(
        jax.random.key(1), toy.make(), example, state.make_optimizer(config)
    )
    if width is not None:
        params = {**new.params, "policy": {**new.params["policy"]}}
        params["policy"]["embed"] = params["policy"]["embed"][:, :width]
        new = new._replace(params=params)
    return new


def _at(step):
    """A state that differs from that of any other step."""
    new = _init()
    params = jax.tree.map(lambda x: x + step, new.params)
    return new._replace(step=jax.numpy.int32(step), params=params)


def _assert_same(a, b):
    def bits(tree):
        return jax.tree.map(
            np.asarray, tree._replace(key=jax.random.key_data(tree.key))
        )

    jax.tree.map(np.testing.assert_array_equal, bits(a), bits(b))


def _save(workdir, *steps, keep=3):
    with checkpoint.open_manager(workdir, keep=keep) as manager:
        for step in steps:
            checkpoint.save(manager, _at(step), {"config": {"a": step}})


PLACES = {
    "pmap on 8": lambda: placement.make("pmap"),
    "pmap on 1": lambda: placement.make("pmap", devices=jax.devices()[:1]),
    "sharded on 4": lambda: placement.make("sharded", devices=jax.devices()[:4]),
    "fsdp on 8": lambda: placement.make("sharded", fsdp=True, min_shard_size=32),
}


@pytest.mark.parametrize("here", PLACES)
def test_restores_on_every_placement(tmp_path, here):
    place = PLACES[here]()
    now = place.put_state(_at(5))
    with checkpoint.open_manager(tmp_path) as manager:
        checkpoint.save(manager, place.saveable(now), {})
    for there in PLACES.values():
        place = there()
        target = place.restore_target(jax.eval_shape(_init))
        with checkpoint.open_manager(tmp_path) as manager:
            found, meta = checkpoint.restore_latest(manager, target)
        jax.tree.map(lambda x, t: _assert_sharding(x, t), found, target)
        _assert_same(place.from_saveable(found), _at(5))
        assert meta["step"] == 5


def _assert_sharding(x, target):
    assert x.sharding.is_equivalent_to(target.sharding, x.ndim)


def _target():
    place = placement.make("sharded")
    return place.restore_target(jax.eval_shape(_init))


def test_keeps_the_newest_and_saves_no_step_twice(tmp_path):
    _save(tmp_path, 1, 2, 3, 3, 4)
    _save(tmp_path, 4)
    steps = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert steps == {"2", "3", "4"}
    with checkpoint.open_manager(tmp_path) as manager:
        found, meta = checkpoint.restore_latest(manager, _target())
    _assert_same(found, _at(4))
    assert meta == {"config": {"a": 4}, "step": 4}


def _truncate(step_dir):
    for path in sorted(step_dir.rglob("d/*")):
        path.write_bytes(path.read_bytes()[:10])


def _delete_arrays(step_dir):
    for path in sorted(step_dir.rglob("d/*")):
        path.unlink()


def _empty_metadata(step_dir):
    for path in sorted(step_dir.rglob("_METADATA")):
        path.write_text("")


def _delete_meta(step_dir):
    (step_dir / "meta" / "metadata").unlink()


@pytest.fixture
def drop_late_errors(monkeypatch):
    """Orbax reads many files at once; after the first failure the others' go nowhere."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    yield
    gc.collect()
    time.sleep(0.2)


@pytest.mark.usefixtures("drop_late_errors")
@pytest.mark.parametrize(
    "damage", [_truncate, _delete_arrays, _empty_metadata, _delete_meta]
)
def test_damaged_checkpoint_falls_back(tmp_path, caplog, damage):
    _save(tmp_path, 1, 2)
    damage(tmp_path / "checkpoints" / "2")
    with caplog.at_level(logging.WARNING):
        params, meta = checkpoint.read_params(tmp_path)
    assert meta["step"] == 1
    np.testing.assert_array_equal(params["order"]["scale"], 2.0)
    lines = [r.getMessage() for r in caplog.records if "insertion_jax" in r.name]
    assert len(lines) == 1
    assert "checkpoints/2 cannot be read" in lines[0]
    assert "falling back to step 1" in lines[0]

    with checkpoint.open_manager(tmp_path) as manager:
        found, _ = checkpoint.restore_latest(manager, _target())
        _assert_same(found, _at(1))
        # The step can be made and saved again.
        checkpoint.save(manager, _at(2), {"again": True})
    with checkpoint.open_manager(tmp_path) as manager:
        found, meta = checkpoint.restore_latest(manager, _target())
    _assert_same(found, _at(2))
    assert meta["again"]
    assert (tmp_path / "checkpoints" / "damaged-2").is_dir()


@pytest.mark.usefixtures("drop_late_errors")
def test_all_damaged(tmp_path):
    _save(tmp_path, 1, 2)
    for step in ("1", "2"):
        _truncate(tmp_path / "checkpoints" / step)
    with pytest.raises(ValueError, match="None of the 2 checkpoints in .* step 2"):
        checkpoint.read_params(tmp_path)
    assert (tmp_path / "checkpoints" / "2").is_dir()


def test_nothing_there(tmp_path):
    with pytest.raises(ValueError, match="no checkpoints in .*checkpoints"):
        checkpoint.read_params(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with (
        checkpoint.open_manager(tmp_path) as manager,
        pytest.raises(ValueError, match="There are no checkpoints"),
    ):
        checkpoint.restore_latest(manager, _target())


def test_checkpoint_of_something_else(tmp_path):
    _save(tmp_path, 1)
    place = placement.make("sharded")
    with checkpoint.open_manager(tmp_path) as manager:
        target = place.restore_target(jax.eval_shape(lambda: _init(width=4)))
        with pytest.raises(
            ValueError,
            match=r"params/policy/embed is of shape \(8, 16\) there and of shape \(8, 4\) here",
        ):
            checkpoint.restore_latest(manager, target)
        other = jax.eval_shape(_init)
        other = other._replace(opt_state=optax.sgd(0.1, 0.9).init(other.params))
        with pytest.raises(
            ValueError, match=r"opt_state/\S+ is absent there and of shape"
        ):
            checkpoint.restore_latest(manager, place.restore_target(other))


def test_params_are_read_onto_one_device(tmp_path, monkeypatch):
    place = placement.make("pmap")
    now = place.put_state(_at(3))
    now = now._replace(ema_params=jax.tree.map(lambda x: x * 2, now.ema_params))
    # A relative path will do.
    monkeypatch.chdir(tmp_path)
    with checkpoint.open_manager(pathlib.Path("run")) as manager:
        checkpoint.save(manager, place.saveable(now), {})
    params, meta = checkpoint.read_params("run")
    assert meta == {"step": 3}
    assert params["policy"]["out"].devices() == {jax.devices()[0]}
    np.testing.assert_array_equal(params["policy"]["out"], now.ema_params["out"])
    np.testing.assert_array_equal(params["order"]["scale"], 4.0)


def test_versions():
    assert checkpoint.versions()["jax"] == jax.__version__
