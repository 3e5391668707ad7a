import io
import json

from insertion_jax.training import logging


def _lines(workdir):
    text = (workdir / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_resuming_cuts_later_lines(tmp_path):
    with logging.MetricWriter(tmp_path, num_steps=40, stream=io.StringIO()) as writer:
        for step in (10, 20, 30):
            writer.write(step, {"train/loss": float(step)})
        writer.write(20, {"eval/elbo": -1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "sec')  # Killed while writing.
    before = _lines_until_broken(tmp_path)
    with logging.MetricWriter(
        tmp_path, num_steps=40, start_step=20, stream=io.StringIO()
    ) as writer:
        writer.write(30, {"train/loss": 31.0})
    lines = _lines(tmp_path)
    assert [line["step"] for line in lines] == [10, 20, 20, 30]
    assert lines[-1]["train/loss"] == 31.0
    assert lines[-1]["seconds"] >= before[-1]["seconds"]


def _lines_until_broken(workdir):
    text = (workdir / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()[:-1]]


def test_json_stays_json(tmp_path):
    with logging.MetricWriter(tmp_path, num_steps=4, stream=io.StringIO()) as writer:
        writer.write(1, {"a": float("nan"), "b": float("inf"), "c": 1})
    (line,) = _lines(tmp_path)
    assert (line["a"], line["b"], line["c"]) == (None, None, 1.0)
    assert any((tmp_path / "tensorboard").iterdir())


def test_plain_lines(tmp_path):
    stream = io.StringIO()
    with logging.MetricWriter(tmp_path, num_steps=2000, stream=stream) as writer:
        writer.progress(100, {"loss": 7.0}, None)
        writer.progress(500, {"loss": 3.21, "elbo": -3.2}, 120.0)
        writer.progress(600, {}, 0.1)
        writer.note("hello")
    assert stream.getvalue().splitlines() == [
        "step 100/2000  loss 7",
        "step 500/2000  loss 3.21  elbo -3.2  120 steps/s  eta 0:12",
        "step 600/2000  0.1 steps/s  eta 3:53:20",
        "hello",
    ]


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_bar_on_a_terminal(tmp_path):
    stream = _Terminal()
    with logging.MetricWriter(tmp_path, num_steps=2000, stream=stream) as writer:
        writer.progress(500, {"loss": 3.21}, 120.0)
        writer.note("hello")
    text = stream.getvalue()
    assert "500/2000" in text
    assert "loss=3.21" in text
    assert "hello\n" in text


def test_inactive_writes_nothing(tmp_path):
    stream = io.StringIO()
    workdir = tmp_path / "run"
    with logging.MetricWriter(
        workdir, num_steps=9, stream=stream, active=False
    ) as writer:
        writer.write(1, {"a": 1.0})
        writer.progress(1, {"a": 1.0}, 1.0)
        writer.note("hello")
    assert stream.getvalue() == ""
    assert not workdir.exists()
