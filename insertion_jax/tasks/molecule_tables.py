"""Generated molecules as people of the field keep them: `.smi` and `.csv`."""

import csv
import pathlib
from collections.abc import Container, Mapping, Sequence

import numpy as np

from insertion_jax.chemistry import descriptions
from insertion_jax.estimates import estimate
from insertion_jax.tasks import insertion_orders


def write(
    texts: Sequence[str],
    columns: Mapping[str, Sequence],
    folder: pathlib.Path,
    *,
    train: Container[str] | None,
) -> list[pathlib.Path]:
    """Writes `samples.smi`, the valid molecules, and `samples.csv`, all samples.

    The table has the number of the sample, its canonical SMILES (nothing if it is no
    molecule), whether it is valid, its QED and SA, whether it is novel (nothing if
    that is not known), and then the other columns. 3 ms a molecule.

    Args:
      texts: N SMILES, or what should have been some.
      columns: N more values by name; NaN and None are written as nothing.
      folder: where to write.
      train: canonical SMILES of the training set, or None.

    Returns:
      Both files.
    """
    described = descriptions.describe_all(texts)
    names = ["sample", "smiles", "valid", "QED", "SA", "novel", *columns]
    paths = [folder / "samples.smi", folder / "samples.csv"]
    valid = [(d.smiles, row) for row, d in enumerate(described) if d is not None]
    paths[0].write_text("".join(f"{smiles}\tsample-{row}\n" for smiles, row in valid))
    with paths[1].open("w", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(names)
        for row, d in enumerate(described):
            cells = ["", 0, "", "", ""]
            if d is not None:
                found = (d.properties[name] for name in ("QED", "SA"))
                novel = "" if train is None else int(d.smiles not in train)
                cells = [d.smiles, 1, *(f"{value:.4f}" for value in found), novel]
            others = (_cell(values[row]) for values in columns.values())
            table.writerow([row, *cells, *others])
    return paths


def _cell(value):
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.4f}"
    return value


def write_order(
    tokens: Sequence[Sequence[str]], steps: Sequence[Sequence[int]], path: pathlib.Path
) -> insertion_orders.Order:
    """Writes when which kind of token came, with 95 % intervals.

    Args:
      tokens: of N molecules.
      steps: at which each token was inserted; -1 where it stood from the start.
      path: of the `.csv` file.

    Returns:
      What was measured.
    """
    order = insertion_orders.measure(tokens, steps)
    rows = {f"mean_time/{kind}": score for kind, score in order.mean_time.items()}
    rows["skeleton_first"] = order.skeleton_first
    rows["balanced"] = order.balanced
    with path.open("w", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(["measure", "value", "low", "high", "molecules"])
        for name, score in rows.items():
            found = estimate(score)
            numbers = (found.value, found.low, found.high)
            num_molecules = int(np.sum(score.count > 0))
            table.writerow([name, *map(_cell, numbers), num_molecules])
    return order
