"""Packages that were fetched: found, checked, and asked for in one sentence."""

import gzip
import hashlib
import pathlib
import zipfile

import pytest

from insertion_jax.chemistry import downloads
from insertion_jax.types import InputError


@pytest.fixture
def moses(monkeypatch, tmp_path):
    """A folder with a wheel of three molecules, whose hash is the one expected."""
    data = gzip.compress(b"SMILES\nCCO\nCC\nC\n")
    file = downloads.MOSES_SPLITS["test"]
    changed = file._replace(sha256=hashlib.sha256(data).hexdigest())
    monkeypatch.setitem(downloads.MOSES_SPLITS, "test", changed)
    with zipfile.ZipFile(tmp_path / downloads.PACKAGES["moses"].wheel, "w") as wheel:
        wheel.writestr(file.path, data)
        wheel.writestr(downloads.MOSES_SPLITS["train"].path, data)
    return tmp_path


def test_read(moses):
    assert downloads.moses_smiles("test", moses) == ["CCO", "CC", "C"]


def test_a_hash_that_does_not_match(moses):
    with pytest.raises(InputError) as caught:
        downloads.moses_smiles("train", moses)
    message = str(caught.value)
    assert "train.csv.gz in " in message
    assert "is not the file of molsets 0.3.1: its SHA-256 is" in message
    assert downloads.MOSES_SPLITS["train"].sha256 in message


def test_a_broken_wheel(tmp_path):
    (tmp_path / downloads.PACKAGES["moses"].wheel).write_bytes(b"half a file")
    with pytest.raises(InputError, match="is not the file of molsets"):
        downloads.moses_smiles("test", tmp_path)


def test_what_is_missing_is_one_command_away(tmp_path):
    with pytest.raises(InputError) as caught:
        downloads.moses_smiles("test", tmp_path)
    assert str(caught.value) == (
        f"The MOSES molecules are not in '{tmp_path}': fetch them with `python -m "
        f"insertion_jax.chemistry.downloads moses --into {tmp_path}`."
    )


def test_unknown_splits(tmp_path):
    with pytest.raises(InputError, match="its splits are train, test, test_scaffolds"):
        downloads.moses_smiles("validation", tmp_path)


def test_an_installed_package_will_do(monkeypatch, moses, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site-packages")
    info = folder / "molsets-0.3.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: molsets\n")
    zipfile.ZipFile(moses / downloads.PACKAGES["moses"].wheel).extractall(folder)
    monkeypatch.syspath_prepend(folder)
    assert downloads.moses_smiles("test", folder / "nowhere") == ["CCO", "CC", "C"]


def test_the_command_says_why_it_failed(monkeypatch, tmp_path, capsys):
    class Failed:
        returncode = 1
        stderr = "Looking\nERROR: THESE PACKAGES DO NOT MATCH THE HASHES\n"

    monkeypatch.setattr(downloads.subprocess, "run", lambda *_, **__: Failed)
    assert downloads.main(["moses", "--into", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "pip could not download molsets 0.3.1" in error
    assert "DO NOT MATCH THE HASHES" in error


def test_the_command(monkeypatch, tmp_path, capsys):
    commands = []

    class Done:
        returncode = 0

    def run(command, **_):
        requirements = command[command.index("-r") + 1]
        commands.append((command, pathlib.Path(requirements).read_text()))
        return Done

    monkeypatch.setattr(downloads.subprocess, "run", run)
    assert downloads.main(["chemnet", "--into", str(tmp_path / "new")]) == 0
    ((command, requirements),) = commands
    assert {"--no-deps", "--require-hashes"} < set(command)
    assert requirements.startswith("fcd==1.2.2 --hash=sha256:9d8284a4")
    assert "LGPL-3" in capsys.readouterr().out
    assert (tmp_path / "new").is_dir()
