"""The order in which a model writes: when each token comes, and where it lies.

Times are those of generated sequences. Learned rates, of held-out ones, are what the
order was trained to be: an insertion time of LoFlexMDM has the hazard b r(t) with a
rate b of its token (arXiv 2602.18695), and a Plackett-Luce order (arXiv 2606.02133) is
the order of exponential times whose log-rates are its logits; so the two compare.
"""

import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import stats

from insertion_jax import evaluation, sampling
from insertion_jax.types import Batch, Method, Score, Task

POSITION = "position from the left"


class Level(NamedTuple):
    """The mean over all tokens that lie at one place.

    Attributes:
      place: where, such as a distance.
      value: the mean time or log-rate, with its interval.
    """

    place: float
    value: evaluation.Estimate


class Relation(NamedTuple):
    """How one kind of event goes with one kind of place.

    Attributes:
      correlation: Spearman's rank correlation within a sequence, its mean over the
        sequences in which both vary.
      levels: by rising place.
    """

    correlation: evaluation.Estimate
    levels: list[Level]


class Report(NamedTuple):
    """The order of a model's writing.

    Attributes:
      times: `times[event][place]`. Times are ranks within the sequence, from 0 for the
        first token to 1 for the last.
      rates: the same of learned log-rates, less their mean in the sequence. High is
        early: signs are opposite to those of times. Empty if no order is learned.
      sequences: of each, the tokens of the sample, when each came by the model's own
        clock (the step, where it has no other) and where it lies; and the tokens of
        the target with their learned log-rates.
    """

    times: dict[str, dict[str, Relation]]
    rates: dict[str, dict[str, Relation]]
    sequences: list[dict[str, Any]]


def make_measurement(
    task: Task, method: Method, options: sampling.SamplingOptions, batch_size: int
) -> Callable[..., Report]:
    """Compiles the measurement of a model's order.

    Args:
      task: says where tokens lie.
      method: samples, and knows rates.
      options: of sampling.
      batch_size: rows that run together.

    Returns:
      `measure(params, examples, key, progress=False) -> Report`.
    """
    draw = method.sample_times or method.sample
    sample = jax.jit(
        jax.vmap(
            lambda params, example, key: draw(
                params, example, key, **options._asdict()
            ),
            in_axes=(None, 0, 0),
        )
    )
    rates_of = jax.jit(jax.vmap(method.log_rates or _no_rates, in_axes=(None, 0)))

    def measure(params, examples, key, progress=False):
        drawn, rates = [], []
        for rows, keys in sampling.batches(
            examples, key, batch_size, progress, "sampling"
        ):
            drawn.append(sample(params, rows, keys))
            rates.append(rates_of(params, rows))
        count = len(examples.length)
        canvas, trace, *times = sampling.joined(drawn, count)
        if times:
            (times,) = times
        else:
            samples = sampling.Samples(
                canvas.tokens, canvas.length, trace, canvas.anchored
            )
            times = {"insertion": sampling.insertion_steps(samples)}
        written = _inside(canvas.tokens, canvas.length) & ~canvas.anchored
        where = _places(task, examples, canvas.tokens, canvas.length)
        missing = _inside(examples.tokens, examples.length) & ~examples.anchored
        there = _places(task, examples, examples.tokens, examples.length)
        rates = sampling.joined(rates, count)
        sequences = [
            {
                "sample": _texts(task, canvas.tokens[row][: canvas.length[row]]),
                "anchored": canvas.anchored[row][: canvas.length[row]].tolist(),
                "times": _row_of(times, row, canvas.length[row]),
                "places": _row_of(where, row, canvas.length[row]),
                "target": _texts(task, examples.tokens[row][: examples.length[row]]),
                "log_rates": _row_of(rates, row, examples.length[row]),
            }
            for row in range(count)
        ]
        return Report(
            times={
                name: {
                    place: relate(_ranks(x, written), at) for place, at in where.items()
                }
                for name, x in times.items()
            },
            rates={
                name: {
                    place: relate(_centred(x, missing), at)
                    for place, at in there.items()
                }
                for name, x in rates.items()
            },
            sequences=sequences,
        )

    return measure


def _no_rates(params, example):
    return {}


def _texts(task, tokens):
    return [task.vocabulary[token] for token in np.asarray(tokens).tolist()]


def _row_of(arrays, row, length):
    """One row of each array, NaN as null."""
    return {
        name: [x if np.isfinite(x) else None for x in array[row][:length].tolist()]
        for name, array in arrays.items()
    }


def _inside(tokens, length):
    return np.arange(tokens.shape[1]) < np.asarray(length)[:, None]


def _places(task: Task, examples: Batch, tokens, length):
    position = np.broadcast_to(np.arange(tokens.shape[1], dtype=float), tokens.shape)
    places = {POSITION: np.where(_inside(tokens, length), position, np.nan)}
    if task.places is not None:
        places |= task.places(examples, tokens, length)
    return places


def _ranks(times, counted):
    """float64[N, L]: ranks within each row as shares of the row, NaN elsewhere."""
    ranks = stats.rankdata(np.where(counted, times, np.nan), axis=1, nan_policy="omit")
    return (ranks - 1) / np.maximum(counted.sum(axis=1, keepdims=True) - 1, 1)


def _centred(rates, counted):
    rates = np.where(counted, rates, np.nan)
    count = np.maximum(counted.sum(axis=1, keepdims=True), 1)
    return rates - np.nansum(rates, axis=1, keepdims=True) / count


def relate(values: np.ndarray, places: np.ndarray) -> Relation:
    """Holds what was measured of tokens against where they lie.

    Args:
      values: float[N, L], NaN at tokens that do not count.
      places: float[N, L], likewise.

    Returns:
      `Relation`; its correlation is NaN if no sequence has one.
    """
    counts = ~np.isnan(values) & ~np.isnan(places)
    found = []
    for row in range(len(values)):
        pair = values[row, counts[row]], places[row, counts[row]]
        # Constant up to rounding: equal rates have no order.
        if all(x.size > 1 and np.ptp(x) > 1e-4 for x in pair):
            found.append(stats.spearmanr(*pair).statistic)
    levels = []
    for place in np.unique(places[counts]):
        at = counts & (places == place)
        rows = at.any(axis=1)
        score = Score(
            np.where(at, values, 0.0).sum(axis=1)[rows], at.sum(axis=1)[rows] * 1.0
        )
        levels.append(Level(float(place), evaluation.estimate(score)))
    correlation = evaluation.estimate(Score(np.array(found), np.ones(len(found))))
    return Relation(correlation, levels)


def table(report: Report) -> str:
    """The correlations as text, a line each."""
    lines = [f"{'rank correlation of':<22}{'with':<26}{'value':>8}  95 % interval"]
    kinds = {"time": report.times, "log-rate": report.rates}
    for kind, events in kinds.items():
        for event, relations in events.items():
            for place, (e, _) in relations.items():
                lines.append(
                    f"{f'{event} {kind}':<22}{place:<26}{e.value:>8.3f}  "
                    f"[{e.low:.3f}, {e.high:.3f}], {e.num_examples} sequences"
                )
    return "\n".join(lines)


def as_json(report: Report) -> dict[str, Any]:
    """A report as what JSON can hold, NaN and infinity as null."""

    def relation(of):
        return {
            "correlation": evaluation.as_json(of.correlation),
            "levels": [
                {"place": x.place} | evaluation.as_json(x.value) for x in of.levels
            ],
        }

    return {
        kind: {
            event: {place: relation(of) for place, of in relations.items()}
            for event, relations in events.items()
        }
        for kind, events in (("times", report.times), ("rates", report.rates))
    }


def draw(report: Report, path: str | pathlib.Path, title: str = "") -> None:
    """Draws times, and learned rates below them, against each kind of place.

    Args:
      report: of a model.
      path: of the file to write; its ending says which format.
      title: above the picture.
    """
    from matplotlib.figure import Figure

    rows = {
        "when (0: first, 1: last)": report.times,
        "learned log-rate (high: early)": report.rates,
    }
    rows = {label: events for label, events in rows.items() if events}
    places = list(next(iter(report.times.values())))
    size = (3.3 * len(places) + 0.6, 2.7 * len(rows) + 0.4)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    panels = figure.subplots(
        len(rows), len(places), squeeze=False, sharex="col", sharey="row"
    )
    for axes, (label, events) in zip(panels, rows.items(), strict=True):
        for panel, place in zip(axes, places, strict=True):
            for event, relations in events.items():
                _draw_levels(panel, event, relations[place])
            panel.spines[["top", "right"]].set_visible(False)
            panel.grid(alpha=0.25)
            panel.legend(frameon=False, fontsize=8)
        axes[0].set_ylabel(label)
    for panel, place in zip(panels[-1], places, strict=True):
        panel.set_xlabel(place)
        panel.xaxis.get_major_locator().set_params(integer=True)
    if title:
        figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=150)


_COLORS = {"insertion": "#3b2f7f", "reveal": "#e07b39"}


def _draw_levels(panel, event, relation):
    x = [level.place for level in relation.levels]
    values = np.array([level.value[:3] for level in relation.levels]).reshape(-1, 3)
    color = _COLORS.get(event)
    rho = relation.correlation.value
    label = f"{event}, rank correlation {rho:.2f}" if np.isfinite(rho) else event
    panel.plot(x, values[:, 0], marker="o", markersize=3, color=color, label=label)
    low, high = np.where(np.isfinite(values[:, 1:]), values[:, 1:], values[:, :1]).T
    panel.fill_between(x, low, high, alpha=0.2, color=color, linewidth=0)


def write(
    folder: pathlib.Path, report: Report, meta: dict[str, Any], title: str = ""
) -> list[pathlib.Path]:
    """Writes `orders.json`, `orders.jsonl` (a line a sequence) and `orders.png`.

    Returns:
      Their paths.
    """
    paths = [folder / f"orders.{ending}" for ending in ("json", "jsonl", "png")]
    paths[0].write_text(json.dumps(meta | as_json(report), indent=1) + "\n")
    lines = (json.dumps(sequence) + "\n" for sequence in report.sequences)
    paths[1].write_text("".join(lines))
    draw(report, paths[2], title)
    return paths
