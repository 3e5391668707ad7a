"""Pictures of any path, right or wrong, and a path being built."""

import functools

import numpy as np
import pytest

from insertion_jax.tasks import maze_pictures, mazes
from insertion_jax.types import EOS_ID, NUM_SPECIALS, Batch

SIZES = {"num_train": 4, "num_validation": 1, "num_test": 6}


@functools.cache
def task_of(family="braided", conditioning="anchored"):
    return mazes.make(family, "tiny", conditioning=conditioning, **SIZES)


def random_steps(rows, rng):
    """A random order of insertion for each row."""
    steps = np.full(rows.tokens.shape, -1)
    for i, size in enumerate(rows.length):
        free = np.flatnonzero(~rows.anchored[i, :size])
        steps[i, rng.permutation(free)] = np.arange(len(free))
    return steps


def bound(function, task):
    return functools.partial(function, maze=task.score.keywords["maze"])


@pytest.mark.parametrize("conditioning", mazes.CONDITIONINGS)
def test_panel(tmp_path, conditioning):
    task = task_of("perfect", conditioning)
    rows = Batch(*(array[:5] for array in task.load("test")))
    steps = random_steps(rows, np.random.default_rng(0))
    panel = (rows, rows.tokens, rows.length, steps, tmp_path / "panel.svg")
    task.draw(*panel)
    text = panel[-1].read_text()
    assert text.count("a shortest path") == 5
    assert "insertion step" in text and "not allowed" not in text
    one = [x[:1] for x in (rows.tokens, rows.length, steps)]
    first = Batch(*(array[:1] for array in rows))
    task.draw(first, *one, panel[-1], titles=["a title"])
    assert "a title" in panel[-1].read_text()
    with pytest.raises(ValueError, match="2 titles for 5 pictures"):
        task.draw(*panel, titles=["a", "b"])


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        ([], "nothing was written"),
        ([10], "visits 1 of 2 subgoals"),
        ([10, 10, 19], "wrong at cell 2 of 3"),  # the same again
        ([10, 0, 80], "wrong at cell 2 of 3"),  # walls
        ([10, 700, -1, EOS_ID - NUM_SPECIALS, 19], "wrong at cell 2 of 5"),
        ([700], "wrong at cell 1 of 1"),
        ([10, 19, 10, 19, 10, 19, 28], "7 cells; 3 would do"),
    ],
)
def test_any_sequence_can_be_drawn(tmp_path, cells, verdict):
    task = task_of("perfect", "prompt")
    problem = task.parse_prompt("1,1 3,1")
    tokens = np.zeros((1, task.max_length), int)
    tokens[0, : len(cells)] = np.array(cells, int) + NUM_SPECIALS
    steps = np.arange(task.max_length)[None, ::-1]
    row = (problem, tokens, [len(cells)], steps)
    path = tmp_path / "plan.svg"
    task.draw(*row, path)
    text = path.read_text()
    assert verdict in text
    assert ("not allowed" in text) == (verdict.startswith("wrong") and cells != [700])


@pytest.fixture
def short(monkeypatch):
    """Animations of few frames: they take long to draw."""
    monkeypatch.setattr(maze_pictures, "_MAX_FRAMES", 4)
    monkeypatch.setattr(maze_pictures, "_LAST_FRAME", 0.4)


def test_failures(tmp_path):
    task = task_of()
    rows = task.load("test")
    steps = random_steps(rows, np.random.default_rng(0))
    path = tmp_path / "failures.svg"
    draw_failures = bound(mazes.draw_failures, task)
    assert not draw_failures(rows, rows.tokens, rows.length, steps, path)
    assert not path.exists()
    length = rows.length.copy()
    length[[1, 4]] = 0
    assert draw_failures(rows, rows.tokens, length, steps, path)
    assert path.read_text().count("nothing was written") == 2
    assert draw_failures(rows, rows.tokens, length, steps, path, limit=1)
    assert path.read_text().count("nothing was written") == 1


def frames_of(path):
    """`(pixels, milliseconds)` of each frame of a GIF."""
    image_module = pytest.importorskip("PIL.Image")
    with image_module.open(path) as image:
        frames = []
        for i in range(image.n_frames):
            image.seek(i)
            frames.append((image.convert("RGB").tobytes(), image.info["duration"]))
    return frames


def test_animation(tmp_path, short):
    task = task_of()
    rows = task.load("test")
    longest = rows.length.argmax()
    rows = Batch(*(array[longest:] for array in rows))
    steps = np.where(rows.anchored, -1, np.cumsum(~rows.anchored, axis=1) - 1)
    length = rows.length.copy()
    length[0] = np.flatnonzero(steps[0] == 2)[0] + 1  # a few steps are enough
    path = tmp_path / "path.gif"
    animate = bound(mazes.animate, task)
    assert animate(rows, rows.tokens, length, steps, path)
    frames = frames_of(path)
    # The subgoals alone, each step, and the last one for longer.
    assert len(frames) == len(dict(frames)) == 4
    assert [duration for _, duration in frames[:-1]] == [100] * (len(frames) - 1)
    assert frames[-1][1] == 400
    none = Batch(*(array[:0] for array in rows))
    assert not animate(none, none.tokens, none.length, steps[:0], path)


def test_long_and_wrong_animations(tmp_path, short):
    cells = [(i // 20, i % 20) for i in range(400)]
    picture = maze_pictures.PathPicture(
        walls=np.eye(20, dtype=bool),
        subgoals=((0, 1), (19, 18)),
        reference=(),
        path=(None, *cells),
        steps=tuple(range(401)),
    )
    path = tmp_path / "long.gif"
    maze_pictures.animate(picture, path, "a title")
    assert len(frames_of(path)) == 5


@pytest.mark.parametrize("cells", [(), ((1, 1), (1, 3))])
def test_animation_without_insertions(tmp_path, short, cells):
    picture = maze_pictures.PathPicture(
        walls=np.zeros((5, 5), bool),
        subgoals=((1, 1), (1, 3)),
        reference=((1, 1), (1, 2), (1, 3)),
        path=cells,
        steps=(-1,) * len(cells),
    )
    path = tmp_path / "none.gif"
    maze_pictures.animate(picture, path)
    assert len(frames_of(path)) == 1
    maze_pictures.draw([picture], tmp_path / "none.png")
    assert (tmp_path / "none.png").read_bytes().startswith(b"\x89PNG")
