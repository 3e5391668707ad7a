"""Finished runs as a Markdown table, one row for all seeds of a config.

    python benchmarks/summarise.py runs/star_*

Runs that differ in `train.seed` alone share a row. Each needs `--mode=evaluate` and
`--mode=sample --num_samples=1000` first. Columns: greedy exact match on held-out
examples and the bounds, mean over seeds with the smallest and the largest; the
posterior's entropy at the end of training; the rank correlation of a token's position
with the step of its insertion (1: left to right, -1: right to left), over all samples;
training steps per second.
"""

import collections
import json
import pathlib
import statistics
import sys

import numpy as np


def main(folders):
    groups = collections.defaultdict(list)
    for folder in map(pathlib.Path, folders):
        config = json.loads((folder / "config.json").read_text())
        seed = config["train"].pop("seed")
        groups[json.dumps(config, sort_keys=True)].append((seed, folder))
    print(
        "| task | order | seeds | exact match | ELBO | importance-weighted | order "
        "entropy | position-step correlation | steps/s |\n" + "|---" * 9 + "|"
    )
    for text, runs in sorted(groups.items(), key=lambda item: _name(item[0])):
        rows = [_measured(folder) for _, folder in sorted(runs)]
        columns = [_spread([row[i] for row in rows]) for i in range(len(rows[0]))]
        seeds = ", ".join(str(seed) for seed, _ in sorted(runs))
        print("| " + " | ".join([*_name(text), seeds, *columns]) + " |")


def _name(text):
    config = json.loads(text)
    return config["task"]["tier"], config["method"]["order"]


def _measured(folder):
    results = json.loads((folder / "results.json").read_text())
    metrics = results["test, greedy"]["metrics"]
    log = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    training = [line for line in log if "train/elbo" in line]
    speeds = [
        x["train/steps_per_second"] for x in training if "train/steps_per_second" in x
    ]
    return (
        metrics["exact_match"]["value"],
        metrics["elbo"]["value"],
        metrics["importance_weighted_bound"]["value"],
        training[-1]["train/order_entropy"],
        _correlation(folder),
        statistics.median(speeds),
    )


def _correlation(folder):
    values = []
    for line in (folder / "samples" / "samples.jsonl").open():
        steps = np.array(json.loads(line)["insertion_steps"])
        if len(steps) > 1:
            values.append(np.corrcoef(np.arange(len(steps)), steps)[0, 1])
    return float(np.mean(values)) if values else float("nan")


def _spread(values):
    mean = statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.3f}"
    return f"{mean:.3f} [{min(values):.3f}, {max(values):.3f}]"


if __name__ == "__main__":
    main(sys.argv[1:])
