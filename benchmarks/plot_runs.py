"""Learning curves of runs on one task, a colour for each order of insertion.

    python benchmarks/plot_runs.py docs/curves.png runs/star_easy_*

Left: the ELBO on training batches; right: the entropy of the order's law. Thin lines
are seeds.
"""

import json
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_COLORS = {"learned": "#440154", "uniform": "#21918c", "left_to_right": "#e07b39"}
_PANELS = {
    "train/elbo": "ELBO (nats a sequence)",
    "train/order_entropy": "entropy of the order (nats)",
}


def main(path, folders):
    figure, axes = plt.subplots(1, len(_PANELS), figsize=(9, 3.2), layout="constrained")
    labelled = set()
    for folder in sorted(map(pathlib.Path, folders)):
        order = json.loads((folder / "config.json").read_text())["method"]["order"]
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
        lines = [line for line in lines if "train/elbo" in line]
        steps = [line["step"] for line in lines]
        for axis, name in zip(axes, _PANELS, strict=True):
            label = order.replace("_", " ") if order not in labelled else None
            values = [line[name] for line in lines]
            axis.plot(steps, values, color=_COLORS[order], label=label, linewidth=1.2)
        labelled.add(order)
    for axis, title in zip(axes, _PANELS.values(), strict=True):
        axis.set(xlabel="updates", title=title)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    axes[0].legend(frameon=False, title="order")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
