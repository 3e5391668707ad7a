"""Pictures of mazes and of the order in which a path was written.

Matplotlib is imported when something is drawn, because training doesn't need it.
"""

import collections
import itertools
import math
from collections.abc import Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np

Cell = tuple[int, int]

# Inches.
_LARGEST_CELL = 0.36
_LARGEST_MAZE = 5.0
_SMALLEST_PANEL = 2.2
_LEGEND_HEIGHT = 0.7
_TITLE_HEIGHT = 0.32
_MARGIN = 0.2
_SMALLEST_MARK, _LARGEST_MARK = 0.065, 0.15  # radius of a subgoal

# Cells.
_RIBBON = 0.78  # width of a path
_MARK = 0.44  # radius of a subgoal

_INK = "#222222"
_WALL = "#cdd2d9"
_GIVEN = "#8d949e"
_WRONG = "#d62728"
_DASHES = (0, (3, 1.5))
# The light end of viridis is lost on white paper.
_COLORMAP, _COLORMAP_END = "viridis", 0.93

_NUM_COLUMNS = 4
_MAX_FRAMES = 60  # of an animation, until the path is complete
_FRAMES_PER_SECOND = 10
_LAST_FRAME = 2.0  # seconds


class PathPicture(NamedTuple):
    """What one picture shows. Cells are (row, column).

    Attributes:
      walls: bool[H, W].
      subgoals: to visit, in order.
      reference: a right path; empty if none is known.
      path: the generated sequence; None for a token that is no cell.
      steps: the step at which each token came, -1 if it stood there from the start.
    """

    walls: np.ndarray
    subgoals: tuple[Cell, ...]
    reference: tuple[Cell, ...]
    path: tuple[Cell | None, ...]
    steps: tuple[int, ...]


def draw(
    pictures: Sequence[PathPicture], path: str | PathLike, titles: Sequence[str] = ()
) -> None:
    """Draws mazes with their generated paths side by side, under one colour scale.

    Each cell of a path is coloured by when it was inserted; where a path comes back
    to a cell, its second visit is drawn narrower on top of the first. A thin line is
    the reference, where the path is another one. What is wrong is red and dashed:
    cells in walls, moves to a cell that is not beside the last one.

    Args:
      pictures: from left to right, up to four a row; mazes of one size.
      path: of the file to write; its ending says which format.
      titles: one a picture, or none.

    Raises:
      ValueError: if there are titles, but not one a picture.
    """
    if titles and len(titles) != len(pictures):
        raise ValueError(f"{len(titles)} titles for {len(pictures)} pictures.")
    last_step = max(max(picture.steps, default=0) for picture in pictures)
    figure, panels, scale, unit = _prepare(pictures, last_step, titles)
    for panel, picture in zip(panels, pictures, strict=True):
        _draw_path(panel, picture, scale, unit, last_step, complete=True)
        if _differs(picture):
            _draw_reference(panel, picture, unit)
    figure.savefig(path, dpi=200)


def animate(picture: PathPicture, path: str | PathLike, title: str = "") -> None:
    """Shows how a path is written, as an animated GIF.

    Cells that are neighbours on the canvas, but not in the maze, are joined by a thin
    line: there something is missing.

    Args:
      picture: of one path.
      path: of the file to write, with the ending ".gif".
      title: above the maze; empty for none.
    """
    from matplotlib.animation import PillowWriter

    last_step = max(picture.steps, default=-1)
    # Without the reference: the solution is what is being found.
    picture = picture._replace(reference=())
    titles = [title] if title else []
    figure, (panel,), scale, unit = _prepare([picture], last_step, titles)
    stride = max(math.ceil((last_step + 1) / _MAX_FRAMES), 1)
    steps = [*range(-1, last_step, stride), last_step]
    writer = PillowWriter(fps=_FRAMES_PER_SECOND)
    with writer.saving(figure, path, dpi=100):
        for step in steps:
            complete = step == last_step
            artists = _draw_path(panel, picture, scale, unit, step, complete=complete)
            # Equal frames are stored once.
            for _ in range(round(_LAST_FRAME * writer.fps) if complete else 1):
                writer.grab_frame()
            for artist in artists:
                artist.remove()


def _prepare(pictures, last_step, titles):
    """A figure with all that does not depend on the paths.

    Returns:
      `(figure, panels, scale, unit)`: one Axes a picture, in units of cells; the
      colours of the steps; the side of a cell in inches.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize
    from matplotlib.figure import Figure

    shades = [colormaps[_COLORMAP](_COLORMAP_END * i / 255) for i in range(256)]
    scale = ScalarMappable(
        Normalize(0, max(last_step, 1), clip=True), ListedColormap(shades)
    )
    num_rows, num_columns = np.max([p.walls.shape for p in pictures], axis=0)
    unit = min(_LARGEST_CELL, _LARGEST_MAZE / max(num_rows, num_columns))
    panel_width = max(_SMALLEST_PANEL, num_columns * unit)
    panel_height = num_rows * unit + (_TITLE_HEIGHT if titles else 0.0)
    columns = min(len(pictures), _NUM_COLUMNS)
    rows = math.ceil(len(pictures) / columns)
    wrong = any(_wrong_cells(p) or _gaps(p.path) for p in pictures)
    reference = any(_differs(p) for p in pictures)
    legend_width = 2.3 + 1.0 * reference + 1.1 * wrong
    one_line = columns * (panel_width + _MARGIN) - _MARGIN > legend_width + 1.6
    legend_height = (1.0 if one_line else 1.5) * _LEGEND_HEIGHT
    width = max(columns * (panel_width + _MARGIN), legend_width) + _MARGIN
    height = rows * (panel_height + _MARGIN) + legend_height
    figure = Figure(figsize=(width, height), facecolor="white")

    def add_axes(x, y, w, h, **limits):
        box = (x / width, y / height, w / width, h / height)
        axes = figure.add_axes(box, **limits)
        axes.axis("off")
        return axes

    left = (width - columns * (panel_width + _MARGIN) + _MARGIN) / 2
    panels = []
    for i, picture in enumerate(pictures):
        x = left + i % columns * (panel_width + _MARGIN)
        y = height - (i // columns + 1) * (panel_height + _MARGIN)
        middle = (num_columns - 1) / 2
        half = panel_width / unit / 2
        panel = add_axes(
            x,
            y,
            panel_width,
            num_rows * unit,
            xlim=(middle - half, middle + half),
            ylim=(num_rows - 0.5, -0.5),
        )
        _draw_walls(panel, picture.walls)
        _draw_subgoals(panel, picture.subgoals, unit)
        panels.append(panel)
        if titles:
            x, y = x + panel_width / 2, y + num_rows * unit + 0.08
            figure.text(
                x / width, y / height, titles[i], ha="center", fontsize=10, color=_INK
            )
    bar_width = min(2.6, width - 2 * _MARGIN - (legend_width if one_line else 0))
    left = (width - bar_width - (legend_width if one_line else 0)) / 2
    bar_left = left + legend_width if one_line else left
    bottom = 0.0 if one_line else 0.5 * _LEGEND_HEIGHT
    if not one_line:
        left = (width - legend_width) / 2
    box = add_axes(left, bottom, legend_width, _LEGEND_HEIGHT)
    _draw_legend(box, reference, wrong)
    _draw_colorbar(add_axes(bar_left, 0.36, bar_width, 0.09), scale)
    return figure, panels, scale, unit


def _draw_walls(axes, walls):
    """All walls as one image, so that no seam shows between them."""
    from matplotlib.colors import ListedColormap

    height, width = walls.shape
    axes.imshow(
        walls,
        cmap=ListedColormap(["white", _WALL]),
        vmin=0,
        vmax=1,
        interpolation="nearest",
        aspect="auto",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        zorder=0,
    )


def _draw_path(axes, picture, scale, unit, step, *, complete):
    """The part of a path that is there after a step; returns what was drawn.

    Args:
      axes: in units of cells.
      picture: of the path.
      scale: colours of the steps.
      unit: side of a cell in inches.
      step: the last one to show.
      complete: whether nothing is missing any more, so that gaps are errors.
    """
    from matplotlib.collections import LineCollection, PolyCollection

    shown = [i for i, of_token in enumerate(picture.steps) if of_token <= step]
    cells = [picture.path[i] for i in shown]
    colors = [
        scale.to_rgba(picture.steps[i]) if picture.steps[i] >= 0 else _GIVEN
        for i in shown
    ]
    artists = []
    visits, num_visits = collections.Counter(), collections.Counter(cells)
    layers = collections.defaultdict(lambda: ([], []))
    for i, cell in enumerate(cells):
        if cell is None:
            continue
        shapes, shades = layers[visits[cell]]
        # Each further visit is narrower, by so much that the last can still be seen.
        ribbon = _RIBBON * (1 - visits[cell] / num_visits[cell])
        visits[cell] += 1
        around = cells[max(i - 1, 0) : i] + cells[i + 1 : i + 2]
        for other in [cell, *filter(None, around)]:
            if math.dist(cell, other) <= 1:
                shapes.append(_arm(cell, other, ribbon))
                shades.append(colors[i])
    for layer, (shapes, shades) in layers.items():
        ribbons = PolyCollection(
            shapes, facecolors=shades, antialiased=False, linewidths=0, zorder=1 + layer
        )
        artists.append(axes.add_collection(ribbons))

    width = 72 * unit
    style = {"colors": _GIVEN, "linewidths": max(0.06 * width, 0.9), "zorder": 60}
    if complete:
        style |= {"colors": _WRONG, "linestyles": [_DASHES]}
        style["linewidths"] = max(0.14 * width, 1.2)
        frames = [
            [(c + x, r + y) for x, y in _SQUARE] for r, c in _wrong_cells(picture)
        ]
        artists.append(axes.add_collection(LineCollection(frames, **style)))
    gaps = [[cell[::-1] for cell in gap] for gap in _gaps(cells)]
    artists.append(axes.add_collection(LineCollection(gaps, **style)))
    return artists


def _draw_reference(axes, picture, unit):
    """The reference as a line through the middles of its cells."""
    from matplotlib.patheffects import withStroke

    width = max(0.05 * 72 * unit, 0.7)
    ys, xs = zip(*picture.reference, strict=True)
    halo = withStroke(linewidth=2.4 * width, foreground="white", alpha=0.7)
    line = {"color": _INK, "linewidth": width, "zorder": 59, "path_effects": [halo]}
    axes.plot(xs, ys, solid_joinstyle="miter", **line)


_SQUARE = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5))


def _arm(cell: Cell, other: Cell, width: float) -> list[tuple[float, float]]:
    """Corners (x, y) of a cell's part of a path, from its middle half the way on.

    The middle square alone if `other` is the cell itself.
    """
    y, x = cell
    half = width / 2
    left, right = x + min((other[1] - x) / 2, -half), x + max((other[1] - x) / 2, half)
    top, bottom = y + min((other[0] - y) / 2, -half), y + max((other[0] - y) / 2, half)
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _wrong_cells(picture):
    """Cells of a path that are walls, or the same as the one before."""
    found = [cell for cell in picture.path if cell and picture.walls[cell]]
    return found + [b for a, b in itertools.pairwise(picture.path) if a and a == b]


def _gaps(cells):
    """Pairs of cells that follow each other, but no move leads to the second.

    What is no cell lies between the two around it, if it has such.
    """
    known = [i for i, cell in enumerate(cells) if cell]
    return [
        (cells[i], cells[j])
        for i, j in itertools.pairwise(known)
        if j > i + 1 or math.dist(cells[i], cells[j]) > 1
    ]


def _differs(picture):
    return bool(picture.reference) and picture.reference != picture.path


def _draw_subgoals(axes, subgoals, unit):
    """Numbered discs: the start black, the goal a double ring."""
    radius = min(max(_MARK * unit, _SMALLEST_MARK), _LARGEST_MARK)
    ring = {"edgecolor": _INK, "linewidth": 72 * 0.12 * radius}
    for i, (y, x) in enumerate(subgoals):
        is_start, is_goal = i == 0, i == len(subgoals) - 1
        zorder = 70 + 3 * i
        size = (2 * 72 * radius) ** 2
        if is_goal:
            axes.scatter(x, y, s=1.6 * size, facecolor="white", zorder=zorder, **ring)
        color = _INK if is_start else "white"
        axes.scatter(x, y, s=size, facecolor=color, zorder=zorder + 1, **ring)
        axes.text(
            x,
            y,
            str(i + 1),
            ha="center",
            va="center_baseline",
            fontsize=72 * radius * (1.15 if i < 9 else 0.95),
            color="white" if is_start else _INK,
            zorder=zorder + 2,
        )


def _draw_legend(axes, reference, wrong):
    """How subgoals, the reference and errors are marked."""
    from matplotlib.lines import Line2D

    def ring(size, color):
        style = {"marker": "o", "markeredgecolor": _INK, "linestyle": "none"}
        return Line2D([], [], markersize=size, markerfacecolor=color, **style)

    handles = [ring(8, _INK), ring(8, "white"), (ring(9, "white"), ring(5.5, "white"))]
    labels = ["start", "subgoal", "goal"]
    if reference:
        handles.append(Line2D([], [], color=_INK, linewidth=0.9))
        labels.append("reference")
    if wrong:
        style = {"color": _WRONG, "linestyle": _DASHES, "linewidth": 1.5}
        handles.append(Line2D([], [], **style))
        labels.append("not allowed")
    axes.legend(
        handles,
        labels,
        loc="center left",
        bbox_to_anchor=(-0.02, 0.58),
        ncols=len(labels),
        frameon=False,
        fontsize=9,
        labelcolor=_INK,
        handlelength=1.3,
        handletextpad=0.4,
        columnspacing=1.0,
        borderpad=0,
    )


def _draw_colorbar(axes, scale):
    """The colour scale of the insertion steps."""
    from matplotlib.ticker import MaxNLocator

    axes.axis("on")
    ticks = MaxNLocator(6, integer=True)
    bar = axes.figure.colorbar(scale, cax=axes, orientation="horizontal", ticks=ticks)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2, pad=1, color=_INK, labelcolor=_INK)
    bar.set_label("insertion step", fontsize=9, labelpad=1, color=_INK)
