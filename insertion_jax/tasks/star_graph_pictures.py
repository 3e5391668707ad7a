"""Pictures of star graphs and of the order in which a path was written.

Knows nodes by their text alone. Matplotlib is imported when something is drawn,
because training doesn't need it.
"""

import math
from collections.abc import Sequence
from os import PathLike
from typing import NamedTuple

from insertion_jax.tasks.star_graph_layout import Point, TextEdge, layout

# Inches.
_LARGEST_UNIT = 0.42  # between neighbours on a ray
_LARGEST_GRAPH = 6.4
_SMALLEST_COLUMN = 3.4
_LARGEST_CELL = 0.36
_STRIP_HEIGHT = 0.7
_LEGEND_HEIGHT = 0.62
_TITLE_HEIGHT = 0.4
_MARGIN = 0.2

# Units.
_NODE_RADIUS = 0.28
_GOAL_RADIUS = 0.35  # of the outer ring
_BORDER = 0.5  # around the outermost nodes
_ARROW_WIDTH = 0.14
_ARROW_HEAD_WIDTH = 0.32
_ARROW_HEAD_LENGTH = 0.28

_INK = "#222222"
_QUIET = "#b9bec6"
_WRONG = "#d62728"
# The light end of viridis is lost on white paper.
_COLORMAP, _COLORMAP_END = "viridis", 0.93


class PlanPicture(NamedTuple):
    """What one picture shows.

    Attributes:
      edges: of the graph, directed.
      source: where the path should start.
      goal: where the path should end.
      tokens: the generated sequence, two tokens an edge.
      steps: the step at which each token was inserted.
    """

    edges: tuple[TextEdge, ...]
    source: str
    goal: str
    tokens: tuple[str, ...]
    steps: tuple[int, ...]


def draw(
    pictures: Sequence[PlanPicture],
    path: str | PathLike,
    titles: Sequence[str] = (),
) -> None:
    """Draws graphs with their generated paths side by side, under one colour scale.

    Args:
      pictures: from left to right.
      path: of the file to write; its ending says which format.
      titles: one a picture, or none.

    Raises:
      ValueError: if there are titles, but not one a picture.
    """
    if titles and len(titles) != len(pictures):
        raise ValueError(f"{len(titles)} titles for {len(pictures)} pictures.")
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize
    from matplotlib.figure import Figure

    last_step = max((max(p.steps, default=0) for p in pictures), default=0)
    shades = [colormaps[_COLORMAP](_COLORMAP_END * i / 255) for i in range(256)]
    scale = ScalarMappable(
        Normalize(0, max(last_step, 1), clip=True), ListedColormap(shades)
    )

    # One unit for all pictures, so that all nodes are of one size.
    layouts = [layout(p.edges, p.source, p.goal) for p in pictures]
    spans = [_span(positions) for positions in layouts]
    columns = max(right - left for left, right, _, _ in spans)
    rows = max(top - bottom for _, _, bottom, top in spans)
    unit = min(_LARGEST_UNIT, _LARGEST_GRAPH / max(columns, rows))
    column_width = max(_SMALLEST_COLUMN, columns * unit)
    graph_bottom = _LEGEND_HEIGHT + _STRIP_HEIGHT
    graph_top = graph_bottom + rows * unit
    width = len(pictures) * (column_width + _MARGIN) + _MARGIN
    height = graph_top + (_TITLE_HEIGHT if titles else 0.0) + _MARGIN / 2
    figure = Figure(figsize=(width, height), facecolor="white")

    def add_axes(x, y, w, h, **limits):
        box = (x / width, y / height, w / width, h / height)
        axes = figure.add_axes(box, **limits)
        axes.axis("off")
        return axes

    for i, (picture, positions, span) in enumerate(
        zip(pictures, layouts, spans, strict=True)
    ):
        x = _MARGIN + i * (column_width + _MARGIN)
        middle = (span[0] + span[1]) / 2, (span[2] + span[3]) / 2
        half = column_width / unit / 2, rows / 2
        graph_axes = add_axes(
            x,
            graph_bottom,
            column_width,
            rows * unit,
            xlim=(middle[0] - half[0], middle[0] + half[0]),
            ylim=(middle[1] - half[1], middle[1] + half[1]),
        )
        _draw_graph(graph_axes, picture, positions, scale, 1 / (72 * unit))
        strip_axes = add_axes(
            x,
            _LEGEND_HEIGHT,
            column_width,
            _STRIP_HEIGHT,
            xlim=(0, column_width),
            ylim=(0, _STRIP_HEIGHT),
        )
        _draw_strip(strip_axes, picture, scale, column_width)
    for i, title in enumerate(titles):
        x = _MARGIN + i * (column_width + _MARGIN) + column_width / 2
        y = (graph_top + 0.1) / height
        figure.text(x / width, y, title, ha="center", fontsize=12, color=_INK)

    wrong = any(_wrong_edges(p) for p in pictures)
    legend_width = 2.35 if wrong else 1.4
    bar_width = min(2.6, width - 2 * _MARGIN - legend_width)
    left = (width - legend_width - bar_width) / 2
    _draw_legend(add_axes(left, 0, legend_width, _LEGEND_HEIGHT), wrong)
    _draw_colorbar(add_axes(left + legend_width, 0.36, bar_width, 0.09), scale)
    figure.savefig(path, dpi=200)


def _span(positions: dict[str, Point]) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a layout, in units."""
    xs, ys = zip(*positions.values(), strict=True)
    return (
        min(xs) - _BORDER,
        max(xs) + _BORDER,
        min(ys) - _BORDER,
        max(ys) + _BORDER,
    )


def _draw_graph(
    axes, picture: PlanPicture, positions: dict[str, Point], scale, point: float
) -> None:
    """The graph, with the generated edges on top of its own; `point` in units."""
    from matplotlib.patches import FancyArrowPatch, Polygon

    radius = _NODE_RADIUS / point
    reach = {node: _NODE_RADIUS for node in positions}
    reach[picture.goal] = _GOAL_RADIUS

    def arrow(u, v, **style):
        ends = {"shrinkA": reach[u] / point, "shrinkB": reach[v] / point}
        axes.add_patch(
            FancyArrowPatch(
                positions[u], positions[v], arrowstyle="-|>", **ends, **style
            )
        )

    for u, v in picture.edges:
        if u != v:
            arrow(
                u,
                v,
                color=_QUIET,
                linewidth=max(0.1 * radius, 0.6),
                mutation_scale=0.9 * radius,
                zorder=1,
            )
    for edge, steps in zip(_pairs(picture.tokens), _pairs(picture.steps), strict=True):
        u, v = edge
        if u == v or u not in positions or v not in positions:
            continue  # An arrow can't show it, the strip does.
        start, end = positions[u], positions[v]
        if edge in picture.edges:
            halves = _arrow_halves(start, end, reach[u], reach[v])
            for corners, step in zip(halves, steps, strict=True):
                axes.add_patch(
                    Polygon(corners, facecolor=scale.to_rgba(step), zorder=2)
                )
        else:
            # An edge between neighbours has to bow out to be seen beside theirs.
            is_short = math.dist(start, end) < 1.5
            arrow(
                u,
                v,
                color=_WRONG,
                linewidth=max(0.2 * radius, 1.0),
                linestyle=(0, (3, 1.5)),
                mutation_scale=1.2 * radius,
                connectionstyle=f"arc3,rad={0.9 if is_short else 0.2}",
                zorder=3,
            )

    written = {picture.source, picture.goal, *picture.tokens}
    for node, (x, y) in positions.items():
        is_source = node == picture.source
        ring = {
            "edgecolor": _INK if node in written else _QUIET,
            "linewidth": 0.12 * radius,
            "zorder": 4,
        }
        if node == picture.goal:
            size = (2 * _GOAL_RADIUS / point) ** 2
            axes.scatter(x, y, s=size, facecolor="white", **ring)
        color = _INK if is_source else "white"
        axes.scatter(x, y, s=(2 * radius) ** 2, facecolor=color, **ring)
        axes.text(
            x,
            y,
            node,
            ha="center",
            va="center_baseline",
            fontsize=0.95 * radius,
            color="white" if is_source else _INK,
            zorder=5,
        )


def _arrow_halves(
    start: Point, end: Point, skip_start: float, skip_end: float
) -> tuple[list[Point], list[Point]]:
    """Outlines of an arrow's tail half and head half, so that each has its colour."""
    distance = math.dist(start, end)
    along = ((end[0] - start[0]) / distance, (end[1] - start[1]) / distance)

    def at(way, side):
        return (
            start[0] + way * along[0] - side * along[1],
            start[1] + way * along[1] + side * along[0],
        )

    first, last = skip_start, distance - skip_end
    middle = (first + last) / 2
    neck = max(middle, last - _ARROW_HEAD_LENGTH)
    half_width, half_head = _ARROW_WIDTH / 2, _ARROW_HEAD_WIDTH / 2
    tail = [
        at(first, half_width),
        at(middle, half_width),
        at(middle, -half_width),
        at(first, -half_width),
    ]
    head = [
        at(middle, half_width),
        at(neck, half_width),
        at(neck, half_head),
        at(last, 0),
        at(neck, -half_head),
        at(neck, -half_width),
        at(middle, -half_width),
    ]
    return tail, head


def _draw_strip(axes, picture: PlanPicture, scale, width: float) -> None:
    """The sequence, cell by cell: token, colour of its step, number of its step."""
    from matplotlib.patches import Rectangle

    gap = 0.25  # cells, between edges
    num_tokens = len(picture.tokens)
    num_cells = num_tokens + gap * max(math.ceil(num_tokens / 2) - 1, 0)
    size = min(_LARGEST_CELL, width / max(num_cells, 1))
    left = (width - num_cells * size) / 2
    bottom = _STRIP_HEIGHT - 0.1 - size
    centered = {"ha": "center", "color": _INK}
    if not picture.tokens:
        message = "nothing was generated"
        axes.text(width / 2, _STRIP_HEIGHT / 2, message, fontsize=9, **centered)
    for i, (token, step) in enumerate(zip(picture.tokens, picture.steps, strict=True)):
        x = left + size * (i + gap * (i // 2))
        color = scale.to_rgba(step)
        axes.add_patch(Rectangle((x, bottom), size, size, facecolor=color))
        x += size / 2
        axes.text(
            x,
            bottom + size / 2,
            token,
            ha="center",
            va="center_baseline",
            fontsize=72 * size * min(0.44, 1.3 / len(token)),
            color=_INK if _luminance(color) > 0.5 else "white",
        )
        step_size = 72 * size * 0.34
        axes.text(x, bottom - 0.04, step, va="top", fontsize=step_size, **centered)
    for i, edge in enumerate(_pairs(picture.tokens)):
        if edge not in picture.edges:
            frame = {"facecolor": "none", "edgecolor": _WRONG, "linewidth": 1.5}
            corner = (left + size * (2 + gap) * i, bottom)
            axes.add_patch(
                Rectangle(corner, 2 * size, size, linestyle=(0, (3, 1.5)), **frame)
            )


def _draw_legend(axes, wrong: bool) -> None:
    """How source, goal and wrong edges are marked."""
    from matplotlib.lines import Line2D

    def ring(size, color):
        style = {"marker": "o", "markeredgecolor": _INK, "linestyle": "none"}
        return Line2D([], [], markersize=size, markerfacecolor=color, **style)

    handles = [ring(9, _INK), (ring(9, "white"), ring(5.5, "white"))]
    labels = ["source", "goal"]
    if wrong:
        style = {"color": _WRONG, "linestyle": (0, (3, 1.5)), "linewidth": 1.5}
        handles.append(Line2D([], [], **style))
        labels.append("no edge")
    axes.legend(
        handles,
        labels,
        loc="center left",
        bbox_to_anchor=(-0.02, 0.64),
        ncols=len(labels),
        frameon=False,
        fontsize=9,
        labelcolor=_INK,
        handlelength=1.3,
        handletextpad=0.4,
        columnspacing=1.0,
        borderpad=0,
    )


def _draw_colorbar(axes, scale) -> None:
    """The colour scale of the insertion steps."""
    from matplotlib.ticker import MaxNLocator

    axes.axis("on")
    ticks = MaxNLocator(6, integer=True)
    bar = axes.figure.colorbar(scale, cax=axes, orientation="horizontal", ticks=ticks)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2, pad=1, color=_INK, labelcolor=_INK)
    bar.set_label("insertion step", fontsize=9, labelpad=1, color=_INK)


def _wrong_edges(picture: PlanPicture) -> list[TextEdge]:
    """Generated edges that the graph doesn't have."""
    return [edge for edge in _pairs(picture.tokens) if edge not in picture.edges]


def _pairs(values: Sequence) -> list[tuple]:
    """Consecutive pairs, without an odd one at the end."""
    return list(zip(values[::2], values[1::2], strict=False))


def _luminance(color: Sequence[float]) -> float:
    """Perceived brightness of an RGB colour between 0 and 1."""
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
