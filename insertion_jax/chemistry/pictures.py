"""Pictures of generated molecules, with the order in which they were written."""

import io
from collections.abc import Sequence
from os import PathLike
from typing import NamedTuple

import matplotlib.figure
import matplotlib.image
import numpy as np
from matplotlib import animation, cm
from rdkit.Chem.Draw import rdMolDraw2D

from insertion_jax.chemistry import molecules

_COLUMNS = 3
_TOKENS_PER_LINE = 24
_PIXELS = 300
_GREY = "0.85"


class Written(NamedTuple):
    """A generated string.

    Attributes:
      molecule: SMILES, or what should have been one.
      tokens: of the string.
      steps: at which each token was inserted; -1 where it stood from the start.
    """

    molecule: str
    tokens: Sequence[str]
    steps: Sequence[int]


def draw(
    written: Sequence[Written], path: str | PathLike, titles: Sequence[str] = ()
) -> None:
    """Draws molecules in a grid, each above its string coloured by step.

    Dark tokens came first, light ones last; grey ones stood there from the start.

    Args:
      written: N strings, N >= 1.
      path: of the file; its ending says which format.
      titles: N of them, or none.

    Raises:
      ValueError: if there are titles, but not N.
    """
    if titles and len(titles) != len(written):
        raise ValueError(f"{len(titles)} titles for {len(written)} molecules.")
    columns = min(_COLUMNS, len(written))
    rows = -(-len(written) // columns)
    figure = matplotlib.figure.Figure(figsize=(4 * columns, 4.4 * rows))
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[3, 1] * rows)
    for i, item in enumerate(written):
        row, column = divmod(i, columns)
        above = figure.add_subplot(grid[2 * row, column])
        above.imshow(_picture(item.molecule))
        if molecules.parse(item.molecule) is None:
            centre = _PIXELS / 2
            above.text(centre, centre, "not a molecule", ha="center", color="firebrick")
        above.set_axis_off()
        if titles:
            above.set_title(titles[i], fontsize=9)
        _strip(
            figure.add_subplot(grid[2 * row + 1, column]),
            item,
            max(item.steps, default=0),
        )
    figure.savefig(path, dpi=100, bbox_inches="tight")


def draw_canvases(written: Written, path: str | PathLike, count: int = 8) -> None:
    """Shows how one string was written, as a column of its canvases.

    Args:
      written: the string.
      path: of the file; its ending says which format.
      count: canvases at most, the first and the last among them; 2 or more.
    """
    last = max(written.steps, default=-1)
    shown = np.unique(np.linspace(0, last + 1, count).round().astype(int))
    lines = max(-(-len(written.tokens) // _TOKENS_PER_LINE), 1)
    figure = matplotlib.figure.Figure(
        figsize=(8, (0.3 + 0.3 * lines) * len(shown)), layout="constrained"
    )
    for axes, step in zip(
        np.atleast_1d(figure.subplots(len(shown))), shown, strict=True
    ):
        _strip(axes, _before(written, step), last, lines)
        axes.set_title(f"after {step} of {last + 1} tokens", fontsize=8, loc="left")
    figure.savefig(path, dpi=100)


def animate(written: Written, path: str | PathLike) -> None:
    """Shows how one string was written, as an animated GIF of its canvases.

    Args:
      written: the string.
      path: of the file, with the ending ".gif".
    """
    last = max(written.steps, default=-1)
    lines = -(-len(written.tokens) // _TOKENS_PER_LINE)
    figure = matplotlib.figure.Figure(
        figsize=(8, 1 + 0.35 * lines), layout="constrained"
    )
    axes = figure.add_subplot()

    def frame(step):
        axes.clear()
        _strip(axes, _before(written, step), last, lines)
        axes.set_title(f"{step} of {last + 1} tokens inserted", fontsize=9)

    frames = [*range(last + 2), *[last + 1] * 5]
    film = animation.FuncAnimation(figure, frame, frames=frames)
    film.save(path, writer=animation.PillowWriter(fps=5))


def _before(written, step):
    """What stands on the canvas before a step."""
    shown = [i for i, when in enumerate(written.steps) if when < step]
    return Written(
        "", [written.tokens[i] for i in shown], [written.steps[i] for i in shown]
    )


def _picture(text):
    """[H, W, channels]; white where there is no molecule."""
    mol = molecules.parse(text)
    if mol is None:
        return np.full((_PIXELS, _PIXELS, 3), 255, np.uint8)
    drawer = rdMolDraw2D.MolDraw2DCairo(_PIXELS, _PIXELS)
    rdMolDraw2D.PrepareAndDrawMolecule(drawer, mol)
    drawer.FinishDrawing()
    return matplotlib.image.imread(io.BytesIO(drawer.GetDrawingText()), format="png")


def _strip(axes, written, last, num_lines=3):
    """A string in lines of tokens, each on a tile of the colour of its step."""
    colours = cm.viridis(np.linspace(0, 1, max(last, 0) + 1))
    for i, (token, step) in enumerate(zip(written.tokens, written.steps, strict=True)):
        line, place = divmod(i, _TOKENS_PER_LINE)
        colour = _GREY if step < 0 else colours[step]
        is_dark = 0 <= step <= 0.6 * last
        axes.text(
            place + 0.5,
            -line - 0.5,
            token,
            ha="center",
            va="center",
            family="monospace",
            fontsize=8 if len(token) < 3 else 5,
            color="white" if is_dark else "black",
            bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.5},
        )
    lines = max(-(-len(written.tokens) // _TOKENS_PER_LINE), num_lines)
    axes.set_xlim(0, _TOKENS_PER_LINE)
    axes.set_ylim(-lines, 0)
    axes.set_axis_off()
