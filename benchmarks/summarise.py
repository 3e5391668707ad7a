"""Finished runs as a Markdown table, one row for all seeds of a config.

    python benchmarks/summarise.py runs/star_*

Runs that differ in `train.seed` alone share a row. Each needs `--mode=evaluate`, and
`--mode=orders` for the correlations; of several evaluations the last one counts.
Columns: success (mazes) and exact match on held-out examples, greedy, and the bounds
(nats), mean over seeds with the smallest and the largest; the rank correlation of a
token's insertion, and of its reveal, with its position from the left and with its
distance to the junction; training steps per second. Columns that no run has are left
out.
"""

import collections
import json
import math
import pathlib
import statistics
import sys

_ABSENT = "–"
_PLACES = {"position": "position from the left", "junction": "distance to the junction"}
_EVENTS = ("insertion", "reveal")
# They decide when something is written, and nothing of what it says.
_PERIODS = ("log_every", "eval_every", "checkpoint_every")
_METRICS = {
    "success": "success",
    "exact match": "exact_match",
    "ELBO": "elbo",
    "importance-weighted": "importance_weighted_bound",
}
_COLUMNS = (
    *_METRICS,
    *(f"{event} and {place}" for event in _EVENTS for place in _PLACES),
    "steps/s",
)


def main(folders):
    groups = collections.defaultdict(list)
    for folder in map(pathlib.Path, folders):
        config = json.loads((folder / "config.json").read_text())
        seed = config["train"].pop("seed")
        for period in _PERIODS:
            del config["train"][period]
        groups[json.dumps(config, sort_keys=True)].append((seed, folder))
    table = []
    for text, runs in sorted(groups.items(), key=lambda item: _name(item[0])):
        rows = [_measured(folder) for _, folder in sorted(runs)]
        columns = [_spread(values) for values in zip(*rows, strict=True)]
        seeds = ", ".join(str(seed) for seed, _ in sorted(runs))
        table.append([*_name(text), seeds, *columns])
    heads = ("task", "method", "updates", "seeds", *_COLUMNS)
    kept = [i for i in range(len(heads)) if any(row[i] != _ABSENT for row in table)]
    for row in (heads, ["---"] * len(heads), *table):
        print("| " + " | ".join(row[i] for i in kept) + " |")


def _name(text):
    config = json.loads(text)
    method = config["method"]
    if method["name"] == "insertion_process":
        label = f"{method['order']} order"
        if config["network"].get("kind") == "trajectory":
            label += ", trajectory network"
    else:
        label = f"{method['name']}, loss by {method['normalisation']}"
        if method.get("learns_unmask"):
            label += ", both rates learned"
        if config["order_network"].get("shares_trunk"):
            label += ", one trunk"
    task = " ".join(
        config["task"][part] for part in ("family", "tier") if part in config["task"]
    )
    return task, label, str(config["train"]["num_steps"])


def _measured(folder):
    path = folder / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    entries = [x for name, x in results.items() if name.startswith("test, greedy")]
    if not entries:
        raise SystemExit(
            f"{folder} has no greedy evaluation of the test split; --mode=evaluate "
            "makes one."
        )
    metrics = entries[-1]["metrics"]
    values = [metrics.get(name, {}).get("value") for name in _METRICS.values()]
    orders = folder / "orders.json"
    times = json.loads(orders.read_text())["times"] if orders.exists() else {}
    for event in _EVENTS:
        for place in _PLACES.values():
            relation = times.get(event, {}).get(place)
            values.append(relation and relation["correlation"]["value"])
    log = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    speeds = [x["train/steps_per_second"] for x in log if "train/steps_per_second" in x]
    values.append(statistics.median(speeds))
    return [math.nan if value is None else value for value in values]


def _spread(values):
    if any(map(math.isnan, values)):
        return _ABSENT
    mean = statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.3f}"
    return f"{mean:.3f} [{min(values):.3f}, {max(values):.3f}]"


if __name__ == "__main__":
    main(sys.argv[1:])
