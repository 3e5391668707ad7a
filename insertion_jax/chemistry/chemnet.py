"""ChemNet's features of a SMILES, in JAX: what the Fréchet ChemNet distance compares.

ChemNet (Mayr et al., Chem. Sci. 2018; Preuer et al., J. Chem. Inf. Model. 2018) was
trained to predict bioassays from the letters of a SMILES. Two convolutions (32
channels, kernel 4, stride 2, SELU) shorten 350 positions to 88; two LSTMs (128 and
512 units) read them, each from right to left of what it is given. The last state of
the second one is the features. Weights belong to the package `fcd` (LGPL-3) and are read from
it, without torch.
"""

import functools
import io
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from insertion_jax import bars
from insertion_jax.chemistry import downloads
from insertion_jax.types import InputError

NUM_FEATURES = 512
# Another length changes the features, as the LSTM reads the padding, too.
_LENGTH = 350
_SYMBOLS = (
    *("C", "N", "O", "H", "F", "Cl", "P", "B", "Br", "S", "I", "Si"),
    *("#", "(", ")", "+", "-", "1", "2", "3", "4", "5", "6", "7", "8"),
    *("=", "[", "]", "@", "c", "n", "o", "s", "X", "."),
)
_UNKNOWN = _SYMBOLS.index("X")
_SYMBOL = re.compile("Cl|Br|Si|.")
_BATCH = 256


class LSTM(NamedTuple):
    """Weights of an LSTM of H units; gates in the order i, f, g, o.

    Attributes:
      inputs: float32[4 H, D].
      hidden: float32[4 H, H].
      bias: float32[4 H].
    """

    inputs: jax.Array
    hidden: jax.Array
    bias: jax.Array


class ChemNet(NamedTuple):
    """1,406,336 weights.

    Attributes:
      first: float32[32, 35, 4], out channels, symbols, kernel.
      second: float32[32, 32, 4].
      lower: 128 units.
      upper: 512 units.
    """

    first: jax.Array
    second: jax.Array
    lower: LSTM
    upper: LSTM


def read_weights(data_dir: str | os.PathLike) -> ChemNet:
    """Reads the weights out of the package `fcd`, fetched or installed.

    Raises:
      InputError: it is neither; the message has the command that fetches it. Or its
        file is another one.
    """
    archive = zipfile.ZipFile(
        io.BytesIO(downloads.read(downloads.CHEMNET_WEIGHTS, data_dir))
    )
    (index,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
    folder = index.removesuffix("data.pkl") + "data/"
    layers = _Unpickler(io.BytesIO(archive.read(index)), archive, folder).load()
    (_, first), (_, second), (_, lower), (_, upper) = layers

    def lstm(layer):
        weights = layer[0]
        bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
        return LSTM(weights["weight_ih_l0"], weights["weight_hh_l0"], bias)

    return ChemNet(first[0]["weight"], second[0]["weight"], lstm(lower), lstm(upper))


class _Unpickler(pickle.Unpickler):
    """Reads the index of a torch archive and nothing that could run code."""

    def __init__(self, file, archive, folder):
        super().__init__(file)
        self._archive, self._folder = archive, folder

    def find_class(self, module, name):
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch", "FloatStorage"): np.dtype("<f4"),
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(
                f"{module}.{name} is not for a file of weights"
            )
        return known[module, name]

    def persistent_load(self, pid) -> Any:
        _, dtype, key, _, _ = pid
        return np.frombuffer(self._archive.read(self._folder + key), dtype)


def _tensor(storage, offset, shape, stride, *_):
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if min(offset, *stride) < 0 or last >= len(storage):
        raise pickle.UnpicklingError(f"a tensor of shape {shape} exceeds its storage")
    positions = np.array(offset)
    for n, step in zip(shape, stride, strict=True):
        positions = positions[..., None] + step * np.arange(n)
    return storage[positions].astype(np.float32)


def symbols(text: str) -> np.ndarray:
    """The symbols of a SMILES, its end included, as ChemNet knows them.

    Args:
      text: canonical SMILES: another spelling has other features.

    Returns:
      int32[350]; -1 after the end.

    Raises:
      InputError: it has 350 symbols or more.
    """
    found = _SYMBOL.findall(text + ".")
    if len(found) > _LENGTH:
        raise InputError(
            f"ChemNet reads SMILES of up to {_LENGTH - 1} symbols; {text!r} has "
            f"{len(found) - 1}."
        )
    ids = np.full(_LENGTH, -1, np.int32)
    ids[: len(found)] = [_IDS.get(symbol, _UNKNOWN) for symbol in found]
    return ids


_IDS = {symbol: i for i, symbol in enumerate(_SYMBOLS)}


def features(weights: ChemNet, ids: jax.Array) -> jax.Array:
    """ChemNet's features of one SMILES.

    Args:
      weights: of ChemNet.
      ids: int32[350], of `symbols`.

    Returns:
      float32[512].
    """
    # Minus one is one-hot nowhere. The scale belongs to ChemNet.
    x = jax.nn.one_hot(ids, len(_SYMBOLS)).T / len(_SYMBOLS)
    x = jax.nn.selu(_conv(x, weights.first, (1, 1)))
    x = jax.nn.selu(_conv(x, weights.second, (1, 2)))
    x, _ = _lstm(weights.lower, x.T[::-1])
    _, last = _lstm(weights.upper, x[::-1])
    return last


def _conv(x, kernel, padding):
    return lax.conv_general_dilated(
        x[None], kernel, (2,), (padding,), dimension_numbers=("NCH", "OIH", "NCH")
    )[0]


def _lstm(weights, inputs):
    """All hidden states, float32[T, H], and the last one."""

    def step(carry, projected):
        hidden, cell = carry
        i, f, g, o = jnp.split(projected + weights.hidden @ hidden, 4)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return (hidden, cell), hidden

    zeros = jnp.zeros(weights.hidden.shape[1])
    projected = inputs @ weights.inputs.T + weights.bias
    (last, _), states = lax.scan(step, (zeros, zeros), projected)
    return states, last


@functools.cache
def _run():
    return jax.jit(jax.vmap(features, in_axes=(None, 0)))


def features_of(
    weights: ChemNet, smiles: Sequence[str], *, progress: bool = False
) -> np.ndarray:
    """ChemNet's features of many SMILES; 29 s for 10,000 on 2 cores.

    Args:
      weights: of ChemNet.
      smiles: N canonical SMILES.
      progress: show how far it is.

    Returns:
      float32[N, 512].

    Raises:
      InputError: one is too long.
    """
    result = np.zeros((len(smiles), NUM_FEATURES), np.float32)
    starts = range(0, len(smiles), _BATCH)
    for start in bars.over(
        starts, len(starts), title="ChemNet", unit="batches", shown=progress
    ):
        ids = [symbols(text) for text in smiles[start : start + _BATCH]]
        count = len(ids)
        ids += [ids[0]] * (_BATCH - count)
        result[start : start + count] = _run()(weights, np.stack(ids))[:count]
    return result
