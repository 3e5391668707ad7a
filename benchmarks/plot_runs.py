"""Learning curves: a colour for each order or method, a line style for each network.

    python benchmarks/plot_runs.py --picture=docs/curves.png runs/star_easy_*
    python benchmarks/plot_runs.py --picture=docs/time.png --against=seconds \\
        --panels=eval/exact_match,eval/elbo runs/star_easy_*

Panels are entries of `metrics.jsonl`: those of `train/` on training batches, those of
`eval/` on the validation split. Thin lines are seeds. `seconds` are those of updates:
compilation and evaluations are left out.
"""

import json
import pathlib

import matplotlib
from absl import app, flags

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_PICTURE = flags.DEFINE_string("picture", None, "File to write.", required=True)
_AGAINST = flags.DEFINE_enum(
    "against", "updates", ["updates", "seconds"], "The horizontal axis."
)
_PANELS = flags.DEFINE_list(
    "panels", ["train/elbo", "train/order_entropy"], "What to draw, one a panel."
)

_COLORS = {
    "learned": "#440154",
    "uniform": "#21918c",
    "left_to_right": "#e07b39",
    "task": "#3b7dd8",
    "flexmdm": "#8d949e",
    "loflexmdm": "#d62728",
}
_LABELS = {"flexmdm": "FlexMDM", "loflexmdm": "LoFlexMDM", "task": "prescribed order"}
_STYLES = {"canvas": "-", "trajectory": "--"}
_TITLES = {
    "train/elbo": "ELBO (nats a sequence)",
    "train/order_entropy": "entropy of the order (nats)",
    "eval/elbo": "ELBO, validation (nats)",
    "eval/exact_match": "exact match, validation",
    "eval/success": "success, validation",
    "eval/valid": "valid of 128 samples",
}


def main(argv):
    panels = _PANELS.value
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.5 * len(panels), 3.5), layout="constrained"
    )
    axes = [axes] if len(panels) == 1 else axes
    labelled = set()
    for folder in sorted(map(pathlib.Path, argv[1:])):
        label, look = _look(json.loads((folder / "config.json").read_text()))
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
        clock = _clock(lines)
        for axis, name in zip(axes, panels, strict=True):
            points = [(clock[x["step"]], x[name]) for x in lines if name in x]
            if points:
                axis.plot(
                    *zip(*points, strict=True),
                    label=None if label in labelled else label,
                    linewidth=1.2,
                    marker="." if name.startswith("eval/") else None,
                    **look,
                )
        labelled.add(label)
    unit = {"updates": "updates", "seconds": "seconds of updates"}[_AGAINST.value]
    for axis, name in zip(axes, panels, strict=True):
        axis.set(xlabel=unit, title=_TITLES.get(name, name))
        axis.set_xlim(left=0)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    # Below the panels, where no curve runs.
    lines, labels = axes[0].get_legend_handles_labels()
    style = {"ncols": 2, "frameon": False, "fontsize": "small"}
    figure.legend(lines, labels, loc="outside lower center", **style)
    figure.savefig(_PICTURE.value, dpi=150)


def _look(config):
    """A run's label and how its line is drawn."""
    method = config["method"]
    name = method.get("order", method["name"])
    network = config["network"].get("kind", "canvas")
    label = _LABELS.get(name, f"{name.replace('_', ' ')} order")
    if network != "canvas":
        label += f", {network} network"
    look = {"color": _COLORS[name], "linestyle": _STYLES[network]}
    scale = config["optim"]["group_scale"].get("order", 1.0)
    if scale < 1e-6:
        # Its order stays the uniform one, all else is as with a learned order.
        label = "uniform order, of a posterior that is not trained"
        return label, look | {"color": "#e07b39"}
    if scale != 1:
        label += f", posterior at {scale:g} of the rate"
        look["linestyle"] = "-."
    if method.get("entropy_weight"):
        label += ", entropy bonus"
        look["linestyle"] = (0, (6, 1))
    if final := method.get("entropy_final_weight"):
        label += f" that ends at {final:g}"
        look |= {"color": "#c2268c", "linestyle": "-"}
    networks = (config["network"], config.get("order_network", {}))
    if any(network.get("counts") for network in networks):
        label += ", counts"
        look["linestyle"] = ":"
    if order_steps := method.get("order_steps"):
        label += f", certain after {order_steps:,} updates"
    return label, look


def _clock(lines):
    """The horizontal position of each step that has an entry."""
    position, last, clock = 0.0, 0, {}
    for line in lines:
        if "train/steps_per_second" in line:
            done = line["step"] - last
            is_time = _AGAINST.value == "seconds"
            position += done / line["train/steps_per_second"] if is_time else done
            last = line["step"]
        clock[line["step"]] = position
    return clock


if __name__ == "__main__":
    app.run(main)
