import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import run_toy
import toy

from insertion_jax.training import checkpoint, loop, placement, state
from insertion_jax.types import InputError

SCRIPT = pathlib.Path(run_toy.__file__)
ROOT = SCRIPT.parents[2]


def _place(name="pmap", num_devices=4):
    return placement.make(name, devices=jax.devices()[:num_devices])


def _bits(final):
    final = final._replace(key=jax.random.key_data(final.key))
    return jax.tree.map(np.asarray, final)


def _assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, _bits(a), _bits(b))


def _saved(workdir):
    place = _place("sharded", 1)
    target = place.restore_target(
        jax.eval_shape(
            lambda: state.init_state(
                jax.random.key(0),
                toy.make(),
                jax.tree.map(lambda x: x[0], toy.examples()),
                state.make_optimizer(run_toy.OPTIMIZER),
            )
        )
    )
    with checkpoint.open_manager(workdir) as manager:
        return checkpoint.restore_latest(manager, target)[0]


def _metrics(workdir):
    """The lines of a run without the times, which differ."""
    timed = ("seconds", "train/steps_per_second", "train/data_wait_share")
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in timed} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    workdir = tmp_path_factory.mktemp("whole")
    seen = []

    def evaluate(params, step):
        seen.append(step)
        return {"sum": float(params["policy"]["out"].sum())}

    final = run_toy.train(workdir, _place(), evaluate=evaluate)
    assert seen == list(range(5, 41, 5))
    return workdir, final


def test_a_run_is_complete(whole):
    workdir, final = whole
    assert int(final.step) == 40
    lines = _metrics(workdir)
    assert [line["step"] for line in lines] == [
        s for s in range(5, 41, 5) for _ in "ab"
    ]
    assert lines[-2]["train/loss"] < lines[0]["train/loss"]
    params, meta = checkpoint.read_params(workdir)
    np.testing.assert_array_equal(params["policy"]["out"], final.ema_params["out"])
    assert lines[-1]["eval/sum"] == pytest.approx(float(params["policy"]["out"].sum()))
    assert meta["step"] == 40
    assert meta["name"] == "toy"
    assert meta["loop"]["batch_size"] == 8
    assert meta["optimizer"]["learning_rate"] == 0.03
    assert meta["versions"]["jax"] == jax.__version__
    raw = (workdir / "metrics.jsonl").read_text().splitlines()
    # The first chunk is not timed: it compiles.
    assert "train/steps_per_second" not in json.loads(raw[0])
    assert "train/steps_per_second" in json.loads(raw[2])
    assert 0 <= json.loads(raw[2])["train/data_wait_share"] <= 1


def test_a_finished_run_is_left_alone(whole, capsys):
    workdir, final = whole
    before = (workdir / "metrics.jsonl").read_text()
    _assert_same(run_toy.train(workdir, _place()), final)
    assert "is trained for 40 steps already" in capsys.readouterr().err
    assert (workdir / "metrics.jsonl").read_text() == before


def test_stopping_and_resuming_changes_no_bit(whole, tmp_path):
    half = run_toy.train(tmp_path, _place(), num_steps=20)
    assert int(half.step) == 20
    _assert_same(run_toy.train(tmp_path, _place()), whole[1])


def test_resuming_on_another_placement(whole, tmp_path):
    run_toy.train(tmp_path, _place("sharded", 2), num_steps=20)
    final = run_toy.train(tmp_path, _place("pmap", 4))
    for a, b in zip(
        jax.tree.leaves(final.params), jax.tree.leaves(whole[1].params), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=3e-6)


def test_a_run_in_buckets_of_length(tmp_path, capsys):
    options = {"max_padding": 0.2, "bucket_steps": 10}
    whole = run_toy.train(tmp_path / "whole", _place(), **options)
    assert "Targets are padded to " in capsys.readouterr().err
    run_toy.train(tmp_path / "parts", _place(), num_steps=25, **options)
    rest = run_toy.train(tmp_path / "parts", _place(), **options)
    _assert_same(whole, rest)
    with pytest.raises(
        InputError, match="with bucket_steps 10, but this run has bucket_steps 5"
    ):
        run_toy.train(tmp_path / "parts", _place(), max_padding=0.2, bucket_steps=5)
    last = _metrics(tmp_path / "whole")[-1]
    assert last["train/loss"] < _metrics(tmp_path / "whole")[0]["train/loss"]


def test_chunks_must_divide_what_buckets_ask_for():
    fields = {"num_steps": 20, "batch_size": 8, "chunk": 10, "log_every": 10}
    fields |= {"eval_every": 10, "checkpoint_every": 10, "bucket_steps": 5}
    assert loop.LoopConfig(**fields).max_padding == 1
    with pytest.raises(InputError, match="10, which does not divide bucket_steps, 5"):
        loop.LoopConfig(**fields, max_padding=0.5)
    for wrong in (0.0, 1.5):
        with pytest.raises(InputError, match=f"max_padding is {wrong}"):
            loop.LoopConfig(**fields, max_padding=wrong)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops(whole, tmp_path, capsys, signum):
    before = signal.getsignal(signum)

    def evaluate(params, step):
        if step == 10:
            os.kill(os.getpid(), signum)
        return {"sum": float(params["policy"]["out"].sum())}

    with pytest.raises(SystemExit) as stopped:
        run_toy.train(tmp_path, _place(), evaluate=evaluate)
    assert stopped.value.code == 128 + signum
    assert signal.getsignal(signum) == before
    text = capsys.readouterr().err
    assert f"Stopped by {signum.name} at step 15 of 40 and saved" in text
    # The evaluation at step 15 is left out; that the run stops soon matters more.
    final = run_toy.train(
        tmp_path,
        _place(),
        evaluate=lambda params, step: {"sum": float(params["policy"]["out"].sum())},
    )
    assert "Going on from step 15" in capsys.readouterr().err
    _assert_same(final, whole[1])
    want = [x for x in _metrics(whole[0]) if x["step"] != 15 or "eval/sum" not in x]
    assert _metrics(tmp_path) == want


def _start(*args, cache):
    env = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(ROOT), str(SCRIPT.parent)]),
        JAX_COMPILATION_CACHE_DIR=cache,
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    )
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, args)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_kill_and_restart(whole, tmp_path, compilation_cache):
    process = _start(tmp_path, "pmap", "hang", 15, cache=compilation_cache)
    try:
        deadline = time.monotonic() + 120
        while not (
            (tmp_path / "hanging").exists()
            and (tmp_path / "checkpoints" / "10").exists()  # Written in the background.
        ):
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert [line["step"] for line in _metrics(tmp_path)][-1] == 15

    again = _start(tmp_path, "pmap", "plain", cache=compilation_cache)
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0, output
    assert "Going on from step 10" in output
    _assert_same(_saved(tmp_path), _saved(whole[0]))
    train_lines = [x for x in _metrics(whole[0]) if "train/loss" in x]
    assert [x for x in _metrics(tmp_path) if "train/loss" in x] == train_lines


@pytest.mark.parametrize("name", placement.NAMES)
def test_two_processes(whole, tmp_path, compilation_cache, name):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        _start(tmp_path, name, "join", port, index, cache=compilation_cache)
        for index in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=180)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    got, want = _saved(tmp_path), _saved(whole[0])
    for a, b in zip(
        jax.tree.leaves(got.params), jax.tree.leaves(want.params), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=3e-6)
    losses = [x["train/loss"] for x in _metrics(tmp_path)]
    wanted = [x["train/loss"] for x in _metrics(whole[0]) if "train/loss" in x]
    np.testing.assert_allclose(losses, wanted, rtol=2e-6)


def test_non_finite_loss_names_the_steps(tmp_path):
    with pytest.raises(
        loop.NonFiniteLossError,
        match=r"not finite at step 23, in the chunk of steps 20 to 24; .*checkpoints/20",
    ):
        run_toy.train(tmp_path, _place(), method=toy.make(nan_after=23))
    saved = _saved(tmp_path)
    assert int(saved.step) == 20
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(saved.params))


def test_non_finite_loss_before_any_checkpoint(tmp_path):
    with pytest.raises(loop.NonFiniteLossError, match="no checkpoint was saved before"):
        run_toy.train(tmp_path, _place(), method=toy.make(nan_after=2))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_steps": 120}, "chunk is 50, which does not divide num_steps, 120;"),
        ({"log_every": 75}, "chunk is 50, which does not divide log_every, 75;"),
        ({"eval_every": 10}, "does not divide eval_every, 10;"),
        ({"checkpoint_every": 20}, "does not divide checkpoint_every, 20;"),
        ({"chunk": 0}, "chunk is 0, but must be at least 1"),
    ],
)
def test_config_messages(fields, message):
    with pytest.raises(ValueError, match=message):
        loop.LoopConfig(**{"num_steps": 100, "batch_size": 8, **fields})


def _short(workdir, **fields):
    config = loop.LoopConfig(
        **{
            "num_steps": 10,
            "batch_size": 8,
            "chunk": 5,
            "log_every": 5,
            "eval_every": 5,
            "checkpoint_every": 5,
            **fields,
        }
    )
    return loop.train(
        toy.make(),
        state.OptimizerConfig(total_steps=40),
        config,
        _place("pmap", 4),
        toy.examples(27),
        workdir,
    )


def test_messages_before_anything_is_made(tmp_path):
    workdir = tmp_path / "run"
    with pytest.raises(ValueError, match="size 10 cannot be spread evenly over 4"):
        _short(workdir, batch_size=10)
    assert not workdir.exists()
    with pytest.raises(ValueError, match="27 examples, fewer than the 28"):
        _short(workdir, batch_size=28)
    assert not workdir.exists()


def test_resuming_another_run(tmp_path):
    _short(tmp_path, num_steps=5)
    with pytest.raises(ValueError, match="with seed 0, but this run has seed 1"):
        _short(tmp_path, seed=1)
    with pytest.raises(ValueError, match="batch_size 8, but this run has batch_size 4"):
        _short(tmp_path, batch_size=4)
    with pytest.raises(
        ValueError, match="of step 5, which the chunk 2 does not divide"
    ):
        _short(tmp_path, chunk=2, log_every=2, eval_every=2, checkpoint_every=2)
