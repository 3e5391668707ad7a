"""ChemNet: its letters, its layers against loops, and the package where it is there."""

import io
import pickle
import warnings
import zipfile

import jax
import numpy as np
import pytest

from insertion_jax.chemistry import chemnet, fcd, rdkit_molecules
from insertion_jax.chemistry.molecules import canonical
from insertion_jax.types import InputError


def random_weights(seed=0):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return (rng.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)

    def lstm(inputs, units):
        bias = draw(4 * units)
        # Remembers the letters through 80 steps of padding.
        bias[units : 2 * units] += 6
        return chemnet.LSTM(draw(4 * units, inputs), draw(4 * units, units) / 4, bias)

    return chemnet.ChemNet(draw(6, 35, 4) * 30, draw(6, 6, 4), lstm(6, 5), lstm(5, 512))


def by_loops(weights, ids):
    """The layers in float64, one position at a time."""
    x = np.zeros((350, 35))
    for position, symbol in enumerate(ids):
        if symbol >= 0:
            x[position, symbol] = 1 / 35
    for kernel, right in ((weights.first, 1), (weights.second, 2)):
        x = np.pad(x, ((1, right), (0, 0)))
        starts = range(0, len(x) - 3, 2)
        x = np.stack([np.einsum("pc,ocp->o", x[s : s + 4], kernel) for s in starts])
        alpha, scale = 1.6732632423543772, 1.0507009873554805
        x = scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))
    assert x.shape[0] == 88

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    for layer in (weights.lower, weights.upper):
        hidden = cell = np.zeros(layer.hidden.shape[1])
        states = []
        for inputs in x[::-1]:
            gates = layer.inputs @ inputs + layer.hidden @ hidden + layer.bias
            i, f, g, o = np.split(gates, 4)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            hidden = sigmoid(o) * np.tanh(cell)
            states.append(hidden)
        x = np.stack(states)
    return x[-1]


def test_symbols():
    ids = chemnet.symbols("CCl[nH]%")
    names = [
        "C",
        "N",
        "O",
        "H",
        "F",
        "Cl",
        "P",
        "B",
        "Br",
        "S",
        "I",
        "Si",
        "#",
        "(",
        ")",
        "+",
        "-",
    ]
    assert ids[0] == names.index("C")
    assert ids[1] == names.index("Cl")
    assert ids[4] == names.index("H")
    # What ChemNet does not know, then the end, then nothing.
    assert ids[6:9].tolist() == [33, 34, -1]
    assert ids.shape == (350,)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(chemnet, "_BATCH", 2)


def test_layers():
    weights = random_weights()
    texts = ["CC(=O)Nc1ccc(Cl)cc1", "CC(=O)Nc1ccc(Br)cc1", "C"]
    found = chemnet.features_of(weights, texts)
    for row, text in zip(found, texts, strict=True):
        expected = by_loops(weights, chemnet.symbols(text))
        np.testing.assert_allclose(row, expected, atol=1e-5)
    # A letter makes more of a difference than that.
    assert np.abs(found[0] - found[1]).max() > 1e-3
    assert chemnet.features_of(weights, []).shape == (0, 512)


def test_long_molecules_are_refused():
    assert (chemnet.symbols("C" * 349) >= 0).all()
    with pytest.raises(InputError, match="up to 349 symbols"):
        chemnet.symbols("C" * 350)


def test_weights_that_are_not_there_are_one_command_away(tmp_path):
    with pytest.raises(InputError) as caught:
        chemnet.read_weights(tmp_path)
    assert "python -m insertion_jax.chemistry.downloads chemnet" in str(caught.value)


def archive(index):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as folder:
        folder.writestr("net/data.pkl", index)
        folder.writestr("net/data/0", np.arange(6, dtype="<f4").tobytes())
    return file.getvalue()


class Harmful:
    def __reduce__(self):
        return print, ("this must not run",)


def test_a_file_of_weights_cannot_run_code(monkeypatch, capsys):
    data = archive(pickle.dumps([Harmful()]))
    monkeypatch.setattr(chemnet.downloads, "read", lambda *_: data)
    with pytest.raises(
        pickle.UnpicklingError, match="builtins.print is not for a file"
    ):
        chemnet.read_weights("anywhere")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("shape", "stride", "expected"),
    [
        ((2, 3), (3, 1), [[0, 1, 2], [3, 4, 5]]),
        ((3, 2), (1, 3), [[0, 3], [1, 4], [2, 5]]),
        ((2,), (1,), [0, 1]),
    ],
)
def test_strides(shape, stride, expected):
    storage = np.arange(6, dtype=np.float32)
    np.testing.assert_array_equal(chemnet._tensor(storage, 0, shape, stride), expected)
    with pytest.raises(pickle.UnpicklingError, match="exceeds its storage"):
        chemnet._tensor(storage, 5, shape, stride)


@pytest.mark.slow
def test_the_weights(data_dir):
    weights = chemnet.read_weights(data_dir)
    # Two bias vectors of each LSTM were added up.
    assert sum(x.size for x in jax.tree.leaves(weights)) == 1_406_336 - 4 * (128 + 512)
    assert weights.upper.hidden.shape == (2048, 512)


@pytest.mark.slow
def test_against_the_package(data_dir):
    package = pytest.importorskip("fcd", reason="pip install insertion_jax[fcd]")
    texts = [canonical(text) for text in rdkit_molecules.screening()[:500]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's and torch's, of the package
        theirs = package.get_predictions(package.load_ref_model(), texts, device="cpu")
        their_distance = package.get_fcd(texts[:250], texts[250:], device="cpu")
    ours = chemnet.features_of(chemnet.read_weights(data_dir), texts)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    distance = fcd.distance(fcd.gaussian(ours[:250]), fcd.gaussian(ours[250:]))
    assert distance == pytest.approx(their_distance, abs=1e-3)
    assert distance > 1
