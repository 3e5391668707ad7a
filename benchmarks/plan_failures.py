"""Where the plans of star graphs go wrong: the first wrong insertion of each.

    python -m insertion_jax.main --mode=sample --workdir=RUN --num_samples=1000
    python benchmarks/plan_failures.py --labels=learned,uniform RUN RUN2

Where arms pass through the junction (all tiers but easy) a path can be told neither
from its start nor from its end alone: from the left, any of the arms that leave the
junction may be the one, and from the right any of those that enter it. Prints the share
of exact matches by the number of edges from the source to the junction, and counts
first wrong insertions. An insertion is wrong if nothing that comes later can make the
canvas the path, that is, if the canvas is no longer a subsequence of it:

    enters     the node right before the junction on another arm: guessed going back
    leaves     the node right after it on another arm: guessed going forward
    too often  a node of the path all of whose places are taken
    other      any other node, also one further out on another arm
    stopped    nothing was wrong but to stop

`guess` is what a model reaches that writes backwards and picks any of the arms that
enter the junction. Also counted: the plans that begin with goal and source; and, of the
right plans whose source lies two edges or more before the junction, those in which the
node after the source comes before the junction (a random order: half of them; a
backward one: none). Then a line of JSON. --picture=FILE draws the shares of all runs.
"""

import collections
import json
import pathlib

import matplotlib
import numpy as np
from absl import app, flags

from insertion_jax import build, estimates, runs
from insertion_jax.tasks.star_graph_places import junction
from insertion_jax.types import NUM_SPECIALS

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_LABELS = flags.DEFINE_list(
    "labels", None, "Names of the runs; their folders' if none."
)
_PICTURE = flags.DEFINE_string("picture", None, "File to draw to.")
_COLORS = ("#440154", "#b5367a", "#21918c", "#8d949e")


def main(argv):
    folders = [pathlib.Path(folder) for folder in argv[1:]]
    for path in map(_samples, folders):
        if not path.exists():
            raise app.UsageError(f"There is no {path}: --mode=sample writes it.")
    labels = _LABELS.value or [folder.name for folder in folders]
    if len(labels) != len(folders):
        raise app.UsageError(f"--labels names {len(labels)} runs of {len(folders)}.")
    found = {}
    for label, folder in zip(labels, folders, strict=True):
        found[label], wrong, orders = failures_of(folder)
        show(label, found[label], wrong, orders)
    if _PICTURE.value:
        draw(found, _PICTURE.value)


def failures_of(folder):
    """Reads a run's samples.

    Returns:
      `(by_distance, wrong, orders)`: for each number of edges before the junction, in
      order, the list of pairs (right or not, the chance of guessing the arm on the way
      back); a count of each kind of first wrong insertion; and for each of the two
      questions about the order a list of answers, yes or no.
    """
    path = _samples(folder)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    split = runs.read_json(path.with_name("meta.json"))["split"]
    problems = build.task(runs.load_config(folder)).load(split)
    by_distance, wrong = collections.defaultdict(list), collections.Counter()
    orders = {"ends_first": [], "source_side_first": []}
    for row in rows:
        prompt = problems.prompt[row["index"]][problems.prompt_mask[row["index"]]]
        *edges, _ = (prompt.reshape(-1, 2) - NUM_SPECIALS).tolist()
        target, sample = _nodes(row["target"]), _nodes(row["sample"])
        centre = junction(edges)
        before = (target.index(centre) + 1) // 2
        num_entering = sum(end == centre for _, end in edges) if before else 1
        by_distance[before].append((sample == target, 1 / num_entering))
        steps = row["insertion_steps"]
        orders["ends_first"].append({*steps[:1], *steps[-1:]} == {0, 1})
        if sample != target:
            wrong[first_wrong(sample, steps, target, edges, centre)] += 1
        elif before > 1:
            orders["source_side_first"].append(source_side_first(steps, before))
    return dict(sorted(by_distance.items())), wrong, orders


def source_side_first(steps, before):
    """Whether the node after the source comes before the junction.

    Args:
      steps: when each token of a right plan was inserted.
      before: number of edges from the source to the junction, at least 2.
    """
    # The source stands once, then every node twice: where one edge ends, one begins.
    return min(steps[1:3]) < min(steps[2 * before - 1 : 2 * before + 1])


def first_wrong(sample, steps, target, edges, centre):
    """The kind of the first insertion that cannot be mended.

    Args:
      sample: the nodes of a wrong plan.
      steps: when each was inserted.
      target: the nodes of the right one.
      edges: pairs of nodes.
      centre: the junction.
    """
    for step in sorted(steps):
        canvas = [node for node, at in zip(sample, steps, strict=True) if at <= step]
        if _is_subsequence(canvas, target):
            continue
        node = sample[steps.index(step)]
        if node in target:
            return "too often" if canvas.count(node) > target.count(node) else "other"
        if [node, centre] in edges:
            return "enters"
        return "leaves" if [centre, node] in edges else "other"
    return "stopped"


def show(name, by_distance, wrong, orders):
    """Prints what was found of one run."""
    num_plans, num_wrong = sum(map(len, by_distance.values())), sum(wrong.values())
    print(f"{name}: {num_plans:,} plans, {num_wrong:,} of them wrong")
    match, guess = (
        {
            before: float(np.mean(values, axis=0)[i])
            for before, values in by_distance.items()
        }
        for i in range(2)
    )
    table = {
        "edges before the junction": by_distance,
        "plans": map(len, by_distance.values()),
        "exact match": map("{:.3f}".format, match.values()),
        "guess": map("{:.3f}".format, guess.values()),
    }
    for row, (head, values) in enumerate(table.items()):
        print("| " + " | ".join([head, *map(str, values)]) + " |")
        if row == 0:
            print("|---" * (len(by_distance) + 1) + "|")
    for kind, count in wrong.most_common():
        print(f"{count:6,} {kind}")
    for question, answers in orders.items():
        print(f"{question}: {sum(answers)} of {len(answers)}")
    report = {"exact_match": match, "guess": guess, "wrong": dict(wrong)}
    report |= {name: [sum(yes), len(yes)] for name, yes in orders.items()}
    print(json.dumps({"run": name, "plans": num_plans} | report) + "\n")


def draw(found, path):
    """A line for each run, with Wilson's 95 % intervals."""
    figure, axis = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
    for i, (label, by_distance) in enumerate(found.items()):
        rights = [np.mean(values, axis=0)[0] for values in by_distance.values()]
        ends = [
            estimates.wilson(sum(right for right, _ in values), len(values))
            for values in by_distance.values()
        ]
        # Side by side, so that no interval hides another.
        at = np.array(list(by_distance)) + 0.08 * (i - (len(found) - 1) / 2)
        bars = np.abs(np.transpose(ends) - rights)
        style = {"color": _COLORS[i % len(_COLORS)], "marker": "o", "markersize": 4}
        axis.errorbar(at, rights, bars, label=label, linewidth=1.2, capsize=2, **style)
    guess = [np.mean(values, axis=0)[1] for values in by_distance.values()]
    axis.plot(
        list(by_distance), guess, "k:", linewidth=1.2, label="any arm into the junction"
    )
    axis.set(xlabel="edges from the source to the junction", title="exact match")
    axis.set_ylim(0, 1.02)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    figure.savefig(path, dpi=150)


def _samples(folder):
    return folder / "samples" / "samples.jsonl"


def _is_subsequence(part, whole):
    rest = iter(whole)
    return all(node in rest for node in part)


def _nodes(text):
    """The nodes of a path, which may break off in the middle of an edge."""
    return [int(node) for edge in text.split() for node in edge.split(">") if node]


if __name__ == "__main__":
    app.run(main)
