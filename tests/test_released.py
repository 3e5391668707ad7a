"""Models used without training: exported, installed, sampled from."""

import json
import shutil

import jax
import numpy as np
import pytest
import shipped

from insertion_jax import build, modes, released, runs
from insertion_jax.training import checkpoint, weights
from insertion_jax.types import InputError

# Of models whose problems give something.
PROMPTS = {"linkers": "c1ccccc1[*:1].CC(=O)N[*:2]"}

pytestmark = pytest.mark.usefixtures("compile_fast")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two updates."""
    path = tmp_path_factory.mktemp("released") / "run"
    config = shipped.star_graphs(
        "tier=tiny,size=smoke",
        train__num_steps=2,
        train__chunk=1,
        train__log_every=1,
        train__eval_every=2,
        train__checkpoint_every=2,
        optim__warmup_steps=1,
        network__dropout=0.0,
        order_network__dropout=0.0,
    )
    modes.train(config, path)
    results = {
        "test, greedy": {
            "step": 2,
            "metrics": {
                "exact_match": {
                    "value": 0.25,
                    "low": 0.125,
                    "high": 0.5,
                    "num_examples": 20,
                },
                "fcd": {"value": 3.5, "low": None, "high": None, "num_examples": 20},
            },
        }
    }
    results["test, greedy"]["made_by"] = {
        "command": ["main.py", "--mode=evaluate", f"--workdir={path}"]
    }
    results["validation, greedy"] = results["test, greedy"] | {"step": 1}
    runs.write_json(path / "results.json", results)
    return path


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "little"
    modes.export(run, str(path))
    return path


def test_an_exported_model_has_the_averaged_parameters(run, folder):
    params, meta = checkpoint.read_params(run)
    exported, step = weights.read(folder)
    assert step == meta["step"] == 2
    assert jax.tree.structure(exported) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, exported, params)


def test_the_card_says_what_it_is(run, folder):
    card = (folder / "README.md").read_text()
    assert card.startswith("# little\n")
    batch_size = runs.load_config(run).train.batch_size
    assert f"| budget | 2 updates of {batch_size} examples" in card
    assert "| exact_match | 0.2500 | [0.1250, 0.5000] | 20 |" in card
    assert "| fcd | 3.5000 |  | 20 |" in card
    assert "--model=little" in card
    assert str(run) not in card
    params, _ = checkpoint.read_params(run)
    assert f"{sum(x.size for x in jax.tree.leaves(params)):,} (" in card
    # What was measured of an older checkpoint is not of these parameters.
    assert "## validation" not in card
    (entry,) = runs.read_json(folder / "results.json").items()
    assert entry[0] == "test, greedy"
    assert entry[1]["made_by"]["command"] == ["main.py", "--mode=evaluate"]


@pytest.mark.parametrize("log", ["", '{"step": 1, "seco'])
def test_a_log_without_a_whole_line_is_no_hindrance(run, tmp_path, log):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "metrics.jsonl").write_text(log)
    modes.export(copy, str(tmp_path / "model"))
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| budget | 2 updates" in card
    assert "hours" not in card


def test_no_path_of_the_machine_is_released(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    config = runs.read_json(copy / "config.json")
    config["task"] |= {
        "data_dir": "/home/me/data",
        "source": "/home/me/secret/mine.smi",
        "test_file": "/home/me/secret/asked.csv",
    }
    runs.write_json(copy / "config.json", config)
    meta = runs.read_json(copy / "meta.json")
    meta["command"] = [
        "main.py",
        "--mode=train",
        "--workdir",
        "/home/me/run",
        "--config=configs/molecules.py:dataset=/home/me/secret/mine.smi,order=uniform",
        "--config.task.data_dir=/home/me/data",
    ]
    runs.write_json(copy / "meta.json", meta)
    (copy / "results.json").unlink()
    modes.export(copy, str(tmp_path / "model"))
    card = (tmp_path / "model" / "README.md").read_text()
    assert "/home" not in card + (tmp_path / "model" / "config.json").read_text()
    assert (
        "`main.py --mode=train --config=configs/molecules.py:dataset=mine.smi,"
        "order=uniform --config.task.data_dir=data`" in card
    )
    assert "have not been evaluated" in card


def test_data_of_a_run_made_elsewhere_are_looked_for_here(run, tmp_path, monkeypatch):
    config = runs.read_json(run / "config.json")
    config["task"]["data_dir"] = "/home/me/data"
    runs.write_json(tmp_path / "config.json", config)
    monkeypatch.setenv("INSERTION_JAX_DATA", "/big")
    assert runs.load_config(tmp_path).task.data_dir == "/big"
    config["task"]["data_dir"] = str(tmp_path)  # it is there
    runs.write_json(tmp_path / "config.json", config)
    assert runs.load_config(tmp_path).task.data_dir == str(tmp_path)


def test_an_installed_model_samples_as_its_run_does(run, folder, tmp_path):
    workdir = tmp_path / "new"
    released.install(str(folder), workdir)
    released.install(str(folder), workdir)  # and again
    drawn = []
    for path in (run, workdir):
        modes.sample(path, "test", {}, 0, num_samples=2, prompt=None)
        lines = (path / "samples" / "samples.jsonl").read_text().splitlines()
        drawn.append([json.loads(line) for line in lines])
    assert drawn[0] == drawn[1]


def test_a_model_is_not_put_on_top_of_another_run(run, folder):
    before = (run / "config.json").read_bytes()
    with pytest.raises(InputError, match="holds something else than the model"):
        released.install(str(folder), run)
    assert (run / "config.json").read_bytes() == before
    assert not (run / weights.FILE).exists()


def test_files_of_the_user_are_not_overwritten(folder, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(InputError, match="holds something else than the model"):
        released.install(str(folder), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize("name", ["config.json", weights.FILE])
def test_a_broken_model_leaves_nothing(folder, tmp_path, name):
    broken = tmp_path / "model"
    shutil.copytree(folder, broken)
    (broken / name).write_text("{")
    with pytest.raises(InputError, match=rf"{name} (is not|cannot)"):
        released.install(str(broken), tmp_path / "new")
    (broken / "config.json").unlink()
    with pytest.raises(InputError, match=r"holds no config\.json"):
        released.install(str(broken), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_directory_that_cannot_be_made_is_one_sentence(run, folder, tmp_path):
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "new"
    with pytest.raises(InputError, match="cannot be made or written to"):
        released.install(str(folder), below)
    with pytest.raises(InputError, match="cannot be made or written to"):
        modes.export(run, str(below))


def test_a_model_cannot_be_trained_on(folder, tmp_path):
    released.install(str(folder), tmp_path / "new")
    config = runs.load_config(tmp_path / "new")
    with pytest.raises(InputError, match="holds a released model"):
        runs.claim(tmp_path / "new", config)


def test_an_unknown_model_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="--model is 'mosses'; it must be one of"):
        released.install("mosses", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_export_overwrites_nothing(run, folder, tmp_path):
    with pytest.raises(InputError, match="is not empty; --model must name a new"):
        modes.export(run, str(folder))
    with pytest.raises(InputError, match="--model is missing"):
        modes.export(run, None)
    empty = tmp_path / "run"
    shutil.copytree(run, empty, ignore=shutil.ignore_patterns("checkpoints"))
    with pytest.raises(InputError, match="There are no checkpoints"):
        modes.export(empty, str(tmp_path / "model"))
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", released.names())
def test_shipped_models_fit_their_configs(name, tmp_path):
    released.install(name, tmp_path / "new")
    assert (
        runs.read_json(tmp_path / "new" / "config.json")["task"]["data_dir"] == "data"
    )
    config = runs.load_config(tmp_path / "new")
    task = build.task(config)
    method = build.method(config, task)
    rows = task.blank(1) if task.blank else task.parse_prompt(PROMPTS[name])
    example = jax.tree.map(lambda x: x[0], rows)
    shapes = jax.eval_shape(method.init, jax.random.key(0), example)
    params, step = weights.read(tmp_path / "new")
    assert step > 0
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes)
    size = sum(path.stat().st_size for path in (tmp_path / "new").iterdir())
    assert size < 10e6
