"""The card of a released model: data, budget, metrics, commands, as Markdown."""

import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import jax

from insertion_jax import runs


def making(workdir: pathlib.Path, step: int) -> dict[str, Any]:
    """What the files of a run say of its making.

    Args:
      workdir: of the run.
      step: updates made.

    Returns:
      "updates" and what is known of "hours", "commit", "devices", "versions" and
      "command", which names no folder of the machine.
    """
    said = {"updates": step}
    meta = workdir / "meta.json"
    if meta.exists():
        content = runs.read_json(meta)
        said["commit"] = content["commit"]
        said["devices"] = ", ".join(content["devices"])
        said["versions"] = ", ".join(
            f"{name} {version}"
            for name, version in content["versions"].items()
            if version != "not installed"
        )
        said["command"] = " ".join(portable(content["command"]))
    seconds = _seconds(workdir / "metrics.jsonl")
    if seconds is not None:
        said["hours"] = seconds / 3_600
    return said


def text(
    name: str,
    config: dict[str, Any],
    results: dict[str, Any],
    params: Any,
    made: dict[str, Any],
) -> str:
    """The card.

    Args:
      name: of the model.
      config: as trained.
      results: entries of `results.json`.
      params: all parameters.
      made: from `making`.
    """
    count = sum(x.size for x in jax.tree.leaves(params))
    task = ", ".join(
        f"{key} {value}"
        for key, value in config["task"].items()
        if key not in ("vocabulary", "data_dir", "name") and value is not None
    )
    method = ", ".join(
        f"{key} {config['method'][key]}"
        for key in ("name", "order", "termination")
        if key in config["method"]
    )
    budget = f"{made['updates']:,} updates of {config['train']['batch_size']} examples"
    if "hours" in made:
        budget += f", {made['hours']:.2f} hours"
    if "devices" in made:
        budget += f" on {made['devices']}"
    facts = {
        "method": method,
        "parameters": f"{count:,} (the policy's are a moving average)",
        "data": f"{config['task']['name']}: {task}",
        "budget": budget,
        "trained by": f"`{made['command']}`" if made.get("command") else None,
        "commit": made.get("commit"),
        "versions": made.get("versions"),
    }
    lines = [f"# {name}", "", "| | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in facts.items() if value]
    for title, result in results.items():
        lines += ["", f"## {title}", "", "| metric | value | 95 % interval | of |"]
        lines.append("|---|---|---|---|")
        lines += [_row(metric, e) for metric, e in result["metrics"].items()]
    if not results:
        lines += ["", "These parameters have not been evaluated."]
    lines += [
        "",
        "## Use",
        "",
        "    python -m insertion_jax.main --mode=sample --num_samples=100 \\",
        f"        --workdir=DIR --model={name}",
        "",
        "`--model` takes the name of a model that comes with the package, or a folder;",
        "`--prompt` says what is given, where the task gives anything.",
    ]
    return "\n".join(lines) + "\n"


def portable(command: Sequence[str]) -> list[str]:
    """The words of a command without --workdir, and without the folders of paths."""
    kept = []
    skips = False
    for word in command:
        if not skips and not re.match(r"--?workdir\b", word):
            kept.append(re.sub(r"(^|[=,:])~?/[^\s,]*/", r"\1", word))
        skips = bool(re.fullmatch(r"--?workdir", word))
    return kept


def _row(metric, estimate):
    value, low, high = (
        "" if estimate[key] is None else f"{estimate[key]:.4f}"
        for key in ("value", "low", "high")
    )
    interval = f"[{low}, {high}]" if low else ""
    return f"| {metric} | {value} | {interval} | {estimate['num_examples']:,} |"


def _seconds(log):
    """Of training, from the last line that is whole; None if there is none."""
    lines = log.read_text().splitlines() if log.exists() else []
    for line in reversed(lines):
        try:
            return json.loads(line)["seconds"]
        except (json.JSONDecodeError, KeyError):
            continue
    return None
