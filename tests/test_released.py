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


@pytest.fixture(scope="module", autouse=True)
def _compile_fast():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


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
    with pytest.raises(InputError, match="holds another run than the model"):
        released.install(str(folder), run)
    assert (run / "config.json").read_bytes() == before
    assert not (run / weights.FILE).exists()


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
    config = runs.load_config(tmp_path / "new")
    assert config.task.data_dir == "data"
    task = build.task(config)
    method = build.method(config, task)
    example = jax.tree.map(lambda x: x[0], task.blank(1))
    shapes = jax.eval_shape(method.init, jax.random.key(0), example)
    params, step = weights.read(tmp_path / "new")
    assert step > 0
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes)
    size = sum(path.stat().st_size for path in (tmp_path / "new").iterdir())
    assert size < 10e6
