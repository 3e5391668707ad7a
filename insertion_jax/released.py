"""Models to use without training: a folder with weights, config and a card.

model.safetensors   parameters, the policy's being their moving average
config.json         the config, as trained
results.json        what `evaluate` measured
README.md           the card: data, budget, metrics, commands

Such a folder serves as a run directory for everything but training. The package ships
some, named by their folders in `insertion_jax/models`.
"""

import json
import pathlib
import shutil
from typing import Any

import jax

from insertion_jax import runs
from insertion_jax.training import checkpoint, weights
from insertion_jax.types import InputError

_SHIPPED = pathlib.Path(__file__).parent / "models"
_CARD = "README.md"


def names() -> list[str]:
    """Of the models that come with the package."""
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{weights.FILE}"))


def install(model: str, workdir: pathlib.Path) -> None:
    """Makes a directory that of a released model, or checks that it is already.

    Args:
      model: one of `names()`, or a folder that `export` wrote.
      workdir: made if missing; nothing in it is overwritten.

    Raises:
      InputError: there is no such model, or the directory holds something else.
    """
    source = _SHIPPED / model if model in names() else pathlib.Path(model)
    if not (source / weights.FILE).is_file():
        raise InputError(
            f"--model is {model!r}; it must be one of {', '.join(names()) or 'none'}, or "
            f"a folder with {weights.FILE}, as --mode=export writes it."
        )
    if workdir.is_file():
        raise InputError(f"{workdir} is a file; --workdir must name a directory.")
    if not (workdir / "config.json").exists():
        workdir.mkdir(parents=True, exist_ok=True)
        for name in (weights.FILE, _CARD, "config.json"):  # last what makes it a run
            if (source / name).exists():
                shutil.copyfile(source / name, workdir / name)
    elif not _same(source / weights.FILE, workdir / weights.FILE):
        raise InputError(
            f"{workdir} holds another run than the model {model}; choose another "
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
      InputError: the directory is not that of a run, or there is something in the
        folder.
    """
    config = runs.load_config(workdir).to_dict()
    params, meta = checkpoint.read_params(workdir)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty; --model must name a new folder.")
    if "data_dir" in config.get("task", {}):
        config["task"]["data_dir"] = "data"  # not the path on this machine
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("config.json", _CARD)]
    results = workdir / "results.json"
    measured = runs.read_json(results) if results.exists() else {}
    if measured:
        paths.append(folder / results.name)
        shutil.copyfile(results, paths[-1])
    paths.append(weights.write(folder, params, meta["step"]))
    paths[1].write_text(
        _card(folder.name, config, measured, params, _training(workdir, meta))
    )
    runs.write_json(paths[0], config)
    return paths


def _training(workdir, meta) -> dict[str, Any]:
    """What the run's files say of its making."""
    said = {"updates": meta["step"]}
    made = workdir / "meta.json"
    if made.exists():
        content = runs.read_json(made)
        said["commit"] = content["commit"]
        said["devices"] = ", ".join(content["devices"])
        said["versions"] = ", ".join(
            f"{name} {version}"
            for name, version in content["versions"].items()
            if version != "not installed"
        )
        said["command"] = " ".join(
            word for word in content["command"] if not word.startswith("--workdir")
        )
    log = workdir / "metrics.jsonl"
    if log.exists():
        *_, last = log.read_text().splitlines()
        said["hours"] = json.loads(last)["seconds"] / 3_600
    return said


def _card(name, config, results, params, training):
    """The text of README.md."""
    count = sum(x.size for x in jax.tree.leaves(params))
    task = {key: value for key, value in config["task"].items() if value is not None}
    data = ", ".join(
        f"{key} {value}"
        for key, value in task.items()
        if key not in ("vocabulary", "data_dir", "name")
    )
    method = ", ".join(
        f"{key} {config['method'][key]}"
        for key in ("name", "order", "termination")
        if key in config["method"]
    )
    facts = {
        "method": method,
        "parameters": f"{count:,} (the policy's are a moving average)",
        "data": f"{task['name']}: {data}",
        "budget": f"{training['updates']:,} updates of {config['train']['batch_size']} "
        "examples"
        + (f", {training['hours']:.2f} hours" if "hours" in training else "")
        + (f" on {training['devices']}" if "devices" in training else ""),
        "trained by": f"`{training['command']}`" if "command" in training else None,
        "commit": training.get("commit"),
        "versions": training.get("versions"),
    }
    lines = [f"# {name}", "", "| | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in facts.items() if value]
    for title, result in results.items():
        lines += ["", f"## {title}", "", "| metric | value | 95 % interval | of |"]
        lines.append("|---|---|---|---|")
        for metric, e in result["metrics"].items():
            interval = "" if e["low"] is None else f"[{e['low']:.4f}, {e['high']:.4f}]"
            value = "" if e["value"] is None else f"{e['value']:.4f}"
            lines.append(f"| {metric} | {value} | {interval} | {e['num_examples']:,} |")
    lines += [
        "",
        "## Use",
        "",
        "    python -m insertion_jax.main --mode=sample --num_samples=100 \\",
        f"        --workdir=DIR --model={name}",
        "",
        "`--model` takes the name of a model that comes with the package, or a folder.",
    ]
    return "\n".join(lines) + "\n"


def _same(path, other):
    return other.exists() and path.read_bytes() == other.read_bytes()
