"""Run directories: what makes one complete, and what makes it another run's.

config.json     the config, as trained
meta.json       versions, devices, commit, command
checkpoints/    parameters, optimiser, data position; a released model has
                model.safetensors instead
metrics.jsonl   training metrics; also as TensorBoard events
results.json    what `evaluate` measured, by split
orders.*        when which tokens come: correlations, sequences, a picture
samples/        what `sample` drew; samples-2/ and so on, drawn with other options
"""

import contextlib
import datetime
import itertools
import json
import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

import jax
from ml_collections import ConfigDict

from insertion_jax.training import checkpoint, weights
from insertion_jax.types import InputError


def claim(workdir: pathlib.Path, config: ConfigDict) -> None:
    """Makes a directory the run of a config, or checks that it is already.

    Args:
      workdir: made if missing; nothing in it is overwritten.
      config: of the run.

    Raises:
      InputError: the directory holds a run of another config (names the fields) or a
        released model, or cannot be made or written to.
    """
    path = workdir / "config.json"
    if (workdir / weights.FILE).exists():
        raise InputError(
            f"{workdir} holds a released model, which cannot be trained on; choose "
            "another --workdir."
        )
    if path.exists():
        _check_same(workdir, _flat(read_json(path)), _flat(_as_json(config)))
    elif workdir.is_file():
        raise InputError(f"{workdir} is a file; --workdir must name a directory.")
    elif jax.process_index() == 0:
        with writing(workdir):
            # Last what makes it a run.
            write_json(workdir / "meta.json", provenance())
            write_json(path, _as_json(config))


def load_config(workdir: pathlib.Path) -> ConfigDict:
    """Reads the config of a run; `task.data_dir` is of this machine.

    Raises:
      InputError: the directory is not that of a run.
    """
    path = workdir / "config.json"
    if not path.exists():
        raise InputError(
            f"{workdir} holds no config.json; --workdir must name the directory of a "
            "run made with --mode=train."
        )
    config = ConfigDict(read_json(path))
    data_dir = config.get("task", {}).get("data_dir")
    if data_dir and not pathlib.Path(data_dir).is_dir():
        # Trained on another machine.
        config.task.data_dir = os.environ.get("INSERTION_JAX_DATA", "data")
    return config


@contextlib.contextmanager
def writing(folder: pathlib.Path):
    """Makes a directory to write to.

    Raises:
      InputError: it cannot be made, or what is done with it meets an error of the file
        system.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise InputError(
            f"The directory {folder} cannot be made or written to ({error.strerror}); "
            "choose another."
        ) from error


def samples_folder(workdir: pathlib.Path, made_with: dict[str, Any]) -> pathlib.Path:
    """Where samples go, so that none made otherwise are lost.

    Args:
      workdir: of the run.
      made_with: what decides the samples, as JSON can hold it.

    Returns:
      The first of `samples`, `samples-2`, ... that is not there, or that holds
      samples made with the same, which will come out the same.
    """
    for number in itertools.count(1):
        folder = workdir / (f"samples-{number}" if number > 1 else "samples")
        meta = folder / "meta.json"
        if not folder.exists():
            return folder
        there = read_json(meta) if meta.exists() else {}
        if {name: there.get(name) for name in made_with} == made_with:
            return folder


def provenance() -> dict[str, Any]:
    """Versions, devices, commit and command of this process."""
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": _commit(),
        "versions": checkpoint.versions(),
        "machine": platform.machine(),
        "devices": [f"{device.platform}:{device.id}" for device in jax.devices()],
        "processes": jax.process_count(),
    }


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes a file as a whole or not at all."""
    partial = path.with_suffix(path.suffix + ".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    partial.replace(path)


def read_json(path: pathlib.Path) -> Any:
    """Reads a file.

    Raises:
      InputError: it is not valid JSON.
    """
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not valid JSON: {error}.") from error


def _check_same(workdir, there, here):
    changed = [
        f"{name} is {there.get(name, 'absent')!r} there and "
        f"{here.get(name, 'absent')!r} here"
        for name in sorted(there.keys() | here.keys())
        if there.get(name, "absent") != here.get(name, "absent")
    ]
    if changed:
        more = f" (and {len(changed) - 3} more)" if len(changed) > 3 else ""
        raise InputError(
            f"{workdir} holds a run of another config: {'; '.join(changed[:3])}{more}."
            " Choose another --workdir, or give the config it was made with."
        )


def _as_json(config):
    # Through text, so that tuples compare equal to the lists they are saved as.
    return json.loads(config.to_json())


def _flat(nested, prefix=""):
    flat = {}
    for name, value in nested.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _commit():
    """The commit of the source tree, "-dirty" if changed; None outside of its git."""
    folder = pathlib.Path(__file__).parent

    def git(*arguments):
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        # An installed package may lie in somebody else's repository.
        git("ls-files", "--error-unmatch", "runs.py")
        return git("describe", "--always", "--dirty", "--abbrev=12")
    except (OSError, subprocess.CalledProcessError):
        return None
