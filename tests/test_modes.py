"""Train, evaluate and sample, from a config to files."""

import contextlib
import io
import json
import math
import shutil

import jax
import numpy as np
import pytest
import shipped

from insertion_jax import build, evaluation, modes, runs, sampling
from insertion_jax.training import checkpoint
from insertion_jax.types import InputError

pytestmark = pytest.mark.usefixtures("compile_fast")

NUM_STEPS = 10
PROMPT = "0>3 3>5 0>2 2>7 from 0 to 5"


def config():
    """Smaller than smoke: what counts here is that everything is there."""
    return shipped.star_graphs(
        "tier=tiny,size=smoke",
        train__num_steps=NUM_STEPS,
        train__log_every=5,
        # Random bits take long to compile.
        network__dropout=0.0,
        order_network__dropout=0.0,
    )


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """The directory of a run that was trained once for all tests here."""
    path = tmp_path_factory.mktemp("modes") / "run"
    modes.train(config(), path)
    return path


def contents(folder):
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def evaluate(workdir, options, seed=0):
    modes.evaluate(workdir, "test", options, seed)
    return runs.read_json(workdir / "results.json")


def sample(workdir, num_samples, prompt=None, with_bounds=False, **options):
    modes.sample(
        workdir,
        "test",
        options,
        0,
        num_samples=num_samples,
        prompt=prompt,
        with_bounds=with_bounds,
    )
    return read_samples(newest(workdir))


def newest(workdir):
    """The folder of the samples that were written last."""
    metas = workdir.glob("samples*/meta.json")
    return max(metas, key=lambda path: path.stat().st_mtime_ns).parent


def read_samples(folder):
    lines = (folder / "samples.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


# Train.


def test_training_makes_a_complete_run(workdir):
    assert runs.load_config(workdir).to_dict() == config().to_dict()
    assert (workdir / "checkpoints" / str(NUM_STEPS)).is_dir()
    assert runs.read_json(workdir / "meta.json")["versions"]["jax"] == jax.__version__
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    metrics = {}
    for line in map(json.loads, lines):
        metrics.setdefault(line["step"], {}).update(line)
    assert sorted(metrics) == [5, NUM_STEPS]
    assert {"train/loss", "train/elbo", "train/grad_norm"} <= set(metrics[5])
    assert {"eval/exact_match", "eval/elbo"} <= set(metrics[NUM_STEPS])
    _, meta = checkpoint.read_params(workdir)
    assert meta["step"] == NUM_STEPS
    assert meta["config"] == json.loads(config().to_json())


def test_training_again_changes_nothing(workdir, capsys):
    before = contents(workdir)
    modes.train(config(), workdir)
    assert f"is trained for {NUM_STEPS} steps already" in capsys.readouterr().err
    assert contents(workdir) == before


# Evaluate.


@pytest.fixture(scope="module")
def evaluated(workdir):
    """The results of a first evaluation, and what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        results = evaluate(workdir, {})
    return results, out.getvalue()


def test_evaluation_writes_and_prints(workdir, evaluated):
    results, out = evaluated
    assert list(results) == ["test, greedy"]
    entry = results["test, greedy"]
    assert {"exact_match", "plan_valid", "elbo"} <= set(entry["metrics"])
    assert (entry["step"], entry["seed"]) == (NUM_STEPS, 0)
    assert "commit" in entry["made_by"]
    title, header, *rows = out.splitlines()
    assert title == f"star_graphs_tiny, test split, step {NUM_STEPS}, greedy"
    assert header.split() == ["metric", "value", "95", "%", "interval", "examples"]
    assert [row.split()[0] for row in rows[:-1]] == list(entry["metrics"])
    assert rows[-1] == f"Written to {workdir / 'results.json'}"


def test_evaluating_again_gives_the_same(workdir, evaluated):
    before = evaluated[0]["test, greedy"]
    after = evaluate(workdir, {})["test, greedy"]
    assert after["metrics"] == before["metrics"]


def test_another_option_adds_an_entry_and_the_batch_size_changes_nothing(
    workdir, evaluated
):
    # The config says greedy; a temperature says otherwise.
    results = evaluate(workdir, {"temperature": 0.5})
    entry = results.pop("test, temperature 0.5, top_p 1")
    assert list(results) == list(evaluated[0])

    task = build.task(config())
    measure = evaluation.make_evaluation(
        task,
        build.method(config(), task),
        "test",
        num_examples=config().evaluate.num_examples,
        num_bounds=config().evaluate.num_bounds,
        batch_size=3,
        options=sampling.SamplingOptions(temperature=0.5),
    )
    params, _ = checkpoint.read_params(workdir)
    again = measure(params)
    assert list(again) == list(entry["metrics"])
    for name, found in again.items():
        expected = list(entry["metrics"][name].values())
        np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=name)


def test_infinite_ends_of_intervals_are_null(tmp_path, workdir, monkeypatch):
    estimates = {"elbo": evaluation.Estimate(-1.0, -math.inf, math.inf, 1)}
    monkeypatch.setattr(
        evaluation, "make_evaluation", lambda *_, **__: lambda *_, **__: estimates
    )
    copy = tmp_path / "run"
    shutil.copytree(workdir, copy)
    (copy / "results.json").unlink(missing_ok=True)
    (entry,) = evaluate(copy, {}).values()
    assert entry["metrics"]["elbo"] == {
        "value": -1.0,
        "low": None,
        "high": None,
        "num_examples": 1,
    }


# Sample.


def test_sampling_for_a_split(workdir, capsys):
    lines = sample(workdir, num_samples=6, greedy=False)
    out = capsys.readouterr().out
    task = build.task(config())
    targets = task.load("test")
    assert len(lines) == 6
    for row, line in enumerate(lines):
        target = task.format(targets.tokens[row], targets.length[row])
        assert (line["index"], line["target"]) == (row, target)
        count = len(line["insertion_steps"])
        assert sorted(line["insertion_steps"]) == list(range(count))
        assert line["length"] == count
        assert line["exact_match"] == float(line["sample"] == target)
    folder = newest(workdir)
    assert {path.name for path in folder.iterdir()} == {
        "samples.jsonl",
        "meta.json",
        "samples.png",
    }
    assert (folder / "samples.png").read_bytes().startswith(b"\x89PNG")
    meta = runs.read_json(folder / "meta.json")
    assert (meta["step"], meta["seed"], meta["split"]) == (NUM_STEPS, 0, "test")
    assert meta["options"] == {"temperature": 1.0, "top_p": 1.0, "greedy": False}
    printed = out.splitlines()
    assert printed[:5] == [line["sample"] or "(empty)" for line in lines[:5]]
    assert printed[5] == "... and 1 more"
    assert printed[-1].strip() == str(folder / "samples.png")


def test_sampling_for_a_prompt(workdir):
    lines = sample(workdir, num_samples=3, prompt=PROMPT, greedy=False)
    assert len(lines) == 3
    for line in lines:
        assert set(line) == {"index", "sample", "target", "stopped", "insertion_steps"}
        assert line["target"] is None
    assert [line["index"] for line in lines] == [0, 1, 2]
    # Each sample has its own key.
    assert len({line["sample"] for line in lines}) > 1
    meta = runs.read_json(newest(workdir) / "meta.json")
    assert (meta["prompt"], meta["split"]) == (PROMPT, None)


@pytest.mark.parametrize(
    ("prompt", "greedy", "count"), [(PROMPT, True, 1), (PROMPT, False, 16)]
)
def test_how_many_samples_if_nothing_is_said(workdir, prompt, greedy, count):
    assert len(sample(workdir, None, prompt, greedy=greedy)) == count


def test_no_sample_is_overwritten_by_others(workdir, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(workdir, copy, ignore=shutil.ignore_patterns("samples*"))
    first = sample(copy, num_samples=2, greedy=False)
    assert newest(copy).name == "samples"
    second = sample(copy, num_samples=3, greedy=False)
    assert newest(copy).name == "samples-2"
    sample(copy, num_samples=2, prompt=PROMPT)
    assert newest(copy).name == "samples-3"
    sample(copy, num_samples=2, greedy=False, with_bounds=True)
    assert newest(copy).name == "samples-4"
    # Made with the same, they come out the same, and need no other folder.
    assert sample(copy, num_samples=3, greedy=False) == second
    assert newest(copy).name == "samples-2"
    assert read_samples(copy / "samples") == first
    folders = sorted(path.name for path in copy.glob("samples*"))
    assert folders == ["samples", "samples-2", "samples-3", "samples-4"]


# Orders.


def test_orders(workdir, capsys):
    modes.orders(workdir, "validation", {}, 0, num_samples=None)
    out = capsys.readouterr().out
    report = runs.read_json(workdir / "orders.json")
    assert (report["split"], report["num_samples"]) == ("validation", 10)
    places = {
        "position from the left",
        "distance to the junction",
        "distance to the goal",
    }
    for kind in ("times", "rates"):
        assert set(report[kind]) == {"insertion"}
        assert set(report[kind]["insertion"]) == places
        for relation in report[kind]["insertion"].values():
            assert set(relation) == {"correlation", "levels"}
    assert "insertion log-rate    distance to the junction" in out
    assert (workdir / "orders.png").read_bytes().startswith(b"\x89PNG")
    assert out.splitlines()[-1].strip() == str(workdir / "orders.png")
    with pytest.raises(InputError, match="is 11, but the validation split has 10"):
        modes.orders(workdir, "validation", {}, 0, num_samples=11)


def test_no_more_can_be_evaluated_than_there_are(workdir):
    with pytest.raises(InputError, match="is 11, but the validation split has 10"):
        modes.evaluate(workdir, "validation", {}, 0, num_samples=11)


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        ("validation", "is for --split=test; the validation split asks"),
        ("test", "star_graphs asks each once"),
    ],
)
def test_a_problem_is_asked_more_often_where_it_can_be(workdir, split, sentence):
    with pytest.raises(InputError, match=f"^--samples_per_problem .*{sentence}"):
        modes.evaluate(workdir, split, {}, 0, samples_per_problem=2)


def test_no_problem_is_asked_less_often_than_the_others(tmp_path):
    config = shipped.config("linkers", "size=smoke")
    runs.claim(tmp_path, config)
    with pytest.raises(
        InputError, match="^50 samples are no multiple of .*=20; choose"
    ):
        modes.evaluate(tmp_path, "test", {}, 0, samples_per_problem=20)
