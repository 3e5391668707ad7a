"""What is written of generated molecules, and what that says."""

import csv

import numpy as np
import pytest
from PIL import Image

from insertion_jax.chemistry import smiles
from insertion_jax.chemistry.smiles import tokenize
from insertion_jax.tasks import molecule_samples

TEXTS = ["CCO", "C1CC", "OCC", "CC(=O)Nc1ccccc1", ""]


def arrays(texts, vocabulary):
    """Tokens, lengths and steps from the right to the left."""
    rows = [vocabulary.encode(tokenize(text)) for text in texts]
    tokens = np.zeros((len(rows), 20), np.int32)
    steps = np.full(tokens.shape, -1)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
        steps[i, : len(row)] = np.arange(len(row))[::-1]
    return tokens, np.array([len(row) for row in rows]), steps


@pytest.fixture(scope="module")
def vocabulary():
    return smiles.vocabulary(token for text in TEXTS for token in tokenize(text))


def write(texts, vocabulary, folder, train=None, columns=None):
    return molecule_samples.write(
        None,
        *arrays(texts, vocabulary),
        columns or {},
        folder,
        vocabulary=vocabulary,
        notation="smiles",
        train=lambda: train,
    )


def test_tables(vocabulary, tmp_path):
    columns = {"elbo": np.array([-1.5, -2, -3, -4, np.nan])}
    paths = write(TEXTS, vocabulary, tmp_path, {"CCO"}, columns)
    assert [path.name for path in paths] == ["samples.smi", "samples.csv", "order.csv"]
    assert paths[0].read_text().splitlines() == [
        "CCO\tsample-0",
        "CCO\tsample-2",
        "CC(=O)Nc1ccccc1\tsample-3",
    ]
    with paths[1].open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["generated"] for row in rows] == TEXTS
    assert [row["valid"] for row in rows] == ["1", "0", "1", "1", "0"]
    assert [row["novel"] for row in rows] == ["0", "", "0", "1", ""]
    elbos = [row["elbo"] for row in rows]
    assert elbos == ["-1.5000", "-2.0000", "-3.0000", "-4.0000", ""]
    assert 0.4 < float(rows[0]["QED"]) < 0.5 and rows[1]["QED"] == ""


def test_novelty_is_left_open_without_the_training_set(vocabulary, tmp_path):
    _, table, _ = write(TEXTS, vocabulary, tmp_path)
    with table.open(newline="") as lines:
        assert {row["novel"] for row in csv.DictReader(lines)} == {""}


def test_the_order_has_a_figure_if_there_are_enough(vocabulary, tmp_path):
    paths = write(TEXTS * 2, vocabulary, tmp_path)
    assert paths[-1].name == "order.png"
    assert paths[-1].read_bytes().startswith(b"\x89PNG")
    with paths[2].open(newline="") as lines:
        rows = {row["measure"]: row for row in csv.DictReader(lines)}
    # From the right: of OCC and CCO atoms come evenly, in the amide the last are atoms.
    atoms = rows["mean_time/atom"]
    assert atoms["molecules"] == "8"
    assert float(atoms["low"]) < float(atoms["value"]) < float(atoms["high"])
    assert float(rows["balanced"]["value"]) == 0.8
    # Fewer samples leave none of an earlier call.
    assert write(TEXTS, vocabulary, tmp_path)[-1].name == "order.csv"
    assert not (tmp_path / "order.png").exists()


def test_pictures_show_the_longest_molecule(vocabulary, tmp_path):
    pictures = molecule_samples.more_pictures(vocabulary, "smiles")
    assert set(pictures) == {"canvases.png", "canvases.gif"}
    sizes = {}
    for texts in (("CCO", "CC(=O)Nc1ccccc1"), ("CCO",)):
        path = tmp_path / "canvases.png"
        assert pictures["canvases.png"](None, *arrays(texts, vocabulary), path)
        with Image.open(path) as image:
            sizes[texts] = image.size[1]
    # A canvas for each step of the short one, eight of the long one.
    assert max(sizes.values()) > 1.5 * min(sizes.values())
    path = tmp_path / "canvases.gif"
    assert pictures["canvases.gif"](None, *arrays(["CCO"], vocabulary), path)
    with Image.open(path) as film:
        assert film.n_frames >= 4
    assert not pictures["canvases.gif"](None, *arrays([""], vocabulary), path)


def test_safe_is_decoded():
    assert molecule_samples.smiles_of("C<1>.O<1>", "safe").count("O") == 1
    assert molecule_samples.smiles_of("C<x", "safe") == ""
