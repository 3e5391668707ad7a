"""Pictures are written, and show what they should."""

import matplotlib.image
import numpy as np
import pytest
from PIL import Image

from insertion_jax.chemistry import pictures
from insertion_jax.chemistry.pictures import Written
from insertion_jax.chemistry.smiles import tokenize

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


def written(text, reverse=False):
    tokens = tokenize(text)
    steps = list(range(len(tokens)))
    return Written(text, tokens, steps[::-1] if reverse else steps)


def test_draw(tmp_path):
    def picture(*items):
        pictures.draw(items, tmp_path / "a.png", titles=["aspirin"] * len(items))
        return matplotlib.image.imread(tmp_path / "a.png")

    one = picture(written(ASPIRIN))
    other = picture(written(ASPIRIN, reverse=True))
    assert one.shape == other.shape
    height = one.shape[0]
    # Another order is the same molecule above and other colours below.
    assert (one[: height // 2] == other[: height // 2]).all()
    assert (one[3 * height // 4 :] != other[3 * height // 4 :]).any()
    invalid = picture(Written("C1CC(", tokenize("C1CC("), range(5)))
    assert invalid[: height // 2].mean() > one[: height // 2].mean()


def test_titles_must_be_as_many(tmp_path):
    with pytest.raises(ValueError, match="2 titles for 1 molecules"):
        pictures.draw([written("CC")], tmp_path / "a.png", titles=["a", "b"])


def test_animate(tmp_path):
    item = Written("CCO", ["C", "C", "O"], [1, -1, 0])
    pictures.animate(item, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as film:
        frames = []
        for i in range(film.n_frames):
            film.seek(i)
            frames.append(np.asarray(film.convert("RGB")))
    # The anchor alone, then a token more in each frame; the end may stay as one frame.
    assert len(frames) >= 3
    assert (frames[0] != frames[1]).any()
    assert (frames[1] != frames[2]).any()
