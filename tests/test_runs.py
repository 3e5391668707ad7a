"""Run directories: claimed once, never overwritten."""

import json

import pytest
import shipped
from ml_collections import ConfigDict

from insertion_jax import build, runs
from insertion_jax.types import InputError


def smoke(**changes):
    return shipped.star_graphs("tier=tiny,size=smoke", **changes)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_claim_makes_the_directory(tmp_path):
    workdir = tmp_path / "deep" / "run"
    runs.claim(workdir, smoke())
    assert contents(workdir).keys() == {"config.json", "meta.json"}
    meta = runs.read_json(workdir / "meta.json")
    assert {"time", "command", "commit", "versions", "devices", "machine"} <= set(meta)
    assert len(meta["devices"]) == 8


def test_config_comes_back_as_it_was(tmp_path):
    config = smoke(train__seed=3)
    runs.claim(tmp_path, config)
    again = runs.load_config(tmp_path)
    assert again.to_dict() == config.to_dict()
    assert build.loop_config(again) == build.loop_config(config)


def test_claiming_again_changes_nothing(tmp_path):
    config = smoke()
    with config.unlocked():
        config.train.tags = (1, 2)  # JSON makes a list of it
    runs.claim(tmp_path, config)
    before = contents(tmp_path)
    runs.claim(tmp_path, config)
    assert contents(tmp_path) == before


def test_another_config_is_refused_with_names_and_values(tmp_path):
    runs.claim(tmp_path, smoke())
    before = contents(tmp_path)
    with pytest.raises(InputError) as caught:
        runs.claim(tmp_path, smoke(train__seed=3, optim__clip_norm=0.5))
    assert contents(tmp_path) == before
    text = str(caught.value)
    assert "optim.clip_norm is None there and 0.5 here" in text
    assert "train.seed is 0 there and 3 here" in text
    assert "more" not in text


def test_fields_of_one_side_only_and_many_changes(tmp_path):
    config = smoke()
    runs.claim(tmp_path, config)
    with config.unlocked():
        del config.network["width"]
        config.network.depth = 3
        config.train.update(seed=1, chunk=1, num_steps=10)
    with pytest.raises(InputError) as caught:
        runs.claim(tmp_path, config)
    text = str(caught.value)
    assert "network.depth is 'absent' there and 3 here" in text
    assert "network.width is 16 there and 'absent' here" in text
    assert "(and 2 more)" in text


def test_a_file_is_no_directory(tmp_path):
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(InputError, match="is a file; --workdir must name a directory"):
        runs.claim(path, smoke())
    with pytest.raises(InputError, match="cannot be made or written to .*directory"):
        runs.claim(path / "run", smoke())
    assert path.read_text() == "precious"


def test_no_run(tmp_path):
    with pytest.raises(InputError, match="holds no config.json; .* --mode=train"):
        runs.load_config(tmp_path)


def test_damaged_config(tmp_path):
    (tmp_path / "config.json").write_text('{"task": ')
    with pytest.raises(InputError, match="config.json is not valid JSON: Expecting"):
        runs.load_config(tmp_path)
    with pytest.raises(InputError, match="config.json is not valid JSON: Expecting"):
        runs.claim(tmp_path, smoke())


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    runs.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        runs.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_empty_sections_count(tmp_path):
    runs.claim(tmp_path, ConfigDict({"optim": {"scale": {}}}))
    with pytest.raises(InputError, match="optim.scale is {} there and 'absent' here"):
        runs.claim(tmp_path, ConfigDict({"optim": {}}))
