"""Models to use without training: a folder with weights, config and a card.

model.safetensors   parameters, the policy's being their moving average
config.json         the config, as trained
results.json        what `evaluate` measured of these parameters
README.md           the card, see `model_card`

Such a folder serves as a run directory for everything but training. The package ships
some, named by their folders in `insertion_jax/models`.
"""

import pathlib
import shutil
from typing import Any

from insertion_jax import model_card, runs
from insertion_jax.training import checkpoint, weights
from insertion_jax.types import InputError

_SHIPPED = pathlib.Path(__file__).parent / "models"
_CONFIG = "config.json"
_CARD = "README.md"
# Fields of a task's config that may be paths: elsewhere only the name means anything.
_PATHS = ("source", "test_file")


def names() -> list[str]:
    """Of the models that come with the package."""
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{weights.FILE}"))


def install(model: str, workdir: pathlib.Path) -> None:
    """Makes a directory that of a released model, or checks that it is already.

    Args:
      model: one of `names()`, or a folder that `export` wrote.
      workdir: made if missing; must be empty if it is not that of the model already.

    Raises:
      InputError: there is no such model, its files cannot be read, or the directory
        holds something else or cannot be made.
    """
    source = _source(model)
    if not workdir.exists() or (workdir.is_dir() and not any(workdir.iterdir())):
        weights.read(source)  # refuses a broken file before anything is written
        with runs.writing(workdir):
            for name in (weights.FILE, _CARD, _CONFIG):  # last what makes it a run
                if (source / name).exists():
                    shutil.copyfile(source / name, workdir / name)
    elif not all(
        _same(source / name, workdir / name) for name in (weights.FILE, _CONFIG)
    ):
        raise InputError(
            f"{workdir} holds something else than the model {model}; choose another "
            "--workdir, or leave --model out to go on with what is there."
        )


def export(workdir: pathlib.Path, folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes the newest parameters of a run, and what one should know of them.

    Args:
      workdir: of a run, best after `evaluate`.
      folder: made; must not exist, or be empty.

    Returns:
      The files written.

    Raises:
      InputError: the directory is not that of a run, there is something in the folder,
        or it cannot be made.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty; --model must name a new folder.")
    config = _portable(runs.load_config(workdir).to_dict())
    params, meta = checkpoint.read_params(workdir)
    measured = _measured(workdir, meta["step"])
    card = model_card.text(
        folder.name, config, measured, params, model_card.making(workdir, meta["step"])
    )
    with runs.writing(folder):
        paths = [folder / _CARD, weights.write(folder, params, meta["step"])]
        paths[0].write_text(card)
        if measured:
            paths.append(folder / "results.json")
            runs.write_json(paths[-1], measured)
        paths.append(folder / _CONFIG)
        runs.write_json(paths[-1], config)
    return paths


def _source(model):
    """The folder of a model.

    Raises:
      InputError: there is none.
    """
    known = names()
    source = _SHIPPED / model if model in known else pathlib.Path(model).expanduser()
    if not (source / weights.FILE).is_file():
        raise InputError(
            f"--model is {model!r}; it must be one of {', '.join(known) or 'none'}, or "
            f"a folder with {weights.FILE}, as --mode=export writes it."
        )
    runs.load_config(source)
    return source


def _portable(config: dict[str, Any]) -> dict[str, Any]:
    """The config without the paths of the machine that it was trained on."""
    task = dict(config["task"])
    if task.get("data_dir"):
        task["data_dir"] = "data"
    for name in _PATHS:
        if task.get(name):
            task[name] = pathlib.PurePath(task[name]).name
    return {**config, "task": task}


def _measured(workdir, step):
    """The entries of `results.json` that are of these parameters, without paths."""
    path = workdir / "results.json"
    results = runs.read_json(path) if path.exists() else {}
    measured = {name: entry for name, entry in results.items() if entry["step"] == step}
    for entry in measured.values():
        words = entry.get("made_by", {}).get("command", [])
        if words:
            entry["made_by"]["command"] = model_card.portable(words)
    return measured


def _same(path, other):
    return other.is_file() and path.read_bytes() == other.read_bytes()
