"""Molecules of one's own, from a file to new ones: prepare, train, evaluate, sample."""

import csv
import json

import pytest
import shipped

from insertion_jax import modes, runs
from insertion_jax.types import InputError

pytestmark = pytest.mark.usefixtures("compile_fast")

CARBONS = [f"{'C' * n}{end}" for n in range(1, 11) for end in ("", "O", "N", "F")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.smi").write_text("\n".join([*CARBONS, "C1C"]))
    return folder


@pytest.fixture(scope="module")
def config(folder):
    return shipped.config(
        "molecules",
        f"dataset={folder / 'mine.smi'},size=smoke,order=uniform,network=canvas",
        task__num_train=None,
        task__num_held_out=None,
        task__data_dir=str(folder / "data"),
        train__num_steps=5,
        train__log_every=5,
        train__eval_every=5,
        train__checkpoint_every=5,
        evaluate__num_examples=20,
        evaluate__num_validation_bounds=0,
        sample__num_pictures=2,
    )


@pytest.fixture(scope="module")
def workdir(folder, config):
    modes.train(config, folder / "run")
    return folder / "run"


def sample(workdir, num_samples, **options):
    modes.sample(
        workdir, "test", {}, 0, num_samples=num_samples, prompt=None, **options
    )
    metas = workdir.glob("samples*/meta.json")
    return max(metas, key=lambda path: path.stat().st_mtime_ns).parent


def test_preparing_says_what_there_is(config, monkeypatch, capsys):
    fetched = []
    monkeypatch.setattr(
        modes.build, "fetch", lambda config: fetched.append(config) or ["Fetched it."]
    )
    modes.prepare(config)
    assert fetched == [config]
    captured = capsys.readouterr()
    first, title, *splits = captured.out.splitlines()
    assert first == "Fetched it."
    assert title == "molecules_own_smiles: 7 tokens, up to 11 a row"
    assert [line.partition(" rows of ")[0] for line in splits] == [
        "  train: 33",
        "  validation: 3",
        "  test: 4",
    ]
    assert "line 41: 'C1C' is not a molecule" in captured.err


def test_a_run_keeps_what_the_data_decided(workdir, config, capsys):
    kept = runs.load_config(workdir).task
    assert (kept.vocabulary, kept.max_length) == ("C F N O", 11)
    assert config.task.vocabulary is None
    # The same command goes on with the run, or finds it done.
    modes.train(config, workdir)
    assert "is trained for 5 steps already" in capsys.readouterr().err


def test_evaluation_compares_with_real_molecules(workdir, capsys):
    modes.evaluate(workdir, "test", {}, 0, num_samples=12)
    captured = capsys.readouterr()
    assert (
        "Sampling 12 sequences, then bounding the likelihood of 4 of the test split.\n"
        in captured.err
    )
    # What cannot be measured is said with the command that helps.
    assert "insertion_jax.chemistry.downloads chemnet" in captured.err
    ((name, entry),) = runs.read_json(workdir / "results.json").items()
    assert name == "test, temperature 1, top_p 1, 12 samples"
    metrics = entry["metrics"]
    assert {"valid", "unique@1000", "novel", "IntDiv", "SNN/test", "elbo"} <= set(
        metrics
    )
    # More samples than there are examples; bounds are of examples.
    assert metrics["valid"]["num_examples"] == 12
    assert metrics["elbo"]["num_examples"] == 4
    of_set = metrics["Frag/test"]
    assert 0 <= of_set["value"] <= 1
    assert of_set["low"] is of_set["high"] is None
    line = next(x for x in captured.out.splitlines() if x.startswith("Frag/test"))
    assert "[" not in line


def test_sampling_writes_tables_and_pictures(workdir):
    folder = sample(workdir, 12, with_bounds=True)
    files = {path.name for path in folder.iterdir()}
    always = {"samples.jsonl", "samples.smi", "samples.csv", "samples.png", "meta.json"}
    assert files >= always | {"order.csv", "order.png", "canvases.png", "canvases.gif"}
    with (folder / "samples.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    lines = (folder / "samples.jsonl").read_text().splitlines()
    assert [row["generated"] for row in rows] == [
        json.loads(x)["sample"] for x in lines
    ]
    assert all(float(row["importance_weighted_bound"]) < 0 for row in rows)
    assert {row["novel"] for row in rows if row["valid"] == "1"} <= {"0", "1"}


def test_sampling_needs_no_data(workdir, folder):
    path = folder / "mine.smi"
    text = path.read_text()
    path.unlink()
    try:
        samples = sample(workdir, 3)
        with (samples / "samples.csv").open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert len(rows) == 3
        assert {row["novel"] for row in rows} == {""}
        with pytest.raises(InputError, match="mine.smi cannot be read: No such file"):
            modes.evaluate(workdir, "test", {}, 0)
    finally:
        path.write_text(text)


def test_other_data_are_another_run(workdir, folder, config):
    path = folder / "mine.smi"
    text = path.read_text()
    path.write_text(text + "\nCCS\n")
    try:
        with pytest.raises(InputError, match="task.vocabulary is 'C F N O' there and"):
            modes.train(config, workdir)
    finally:
        path.write_text(text)
