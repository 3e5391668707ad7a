"""What the metrics compare generated molecules with."""

import io
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from insertion_jax.chemistry import building_blocks, downloads
from insertion_jax.chemistry.descriptions import Description
from insertion_jax.chemistry.fcd import MOSES_FLOORS, Gaussian, gaussian
from insertion_jax.chemistry.properties import PROPERTIES
from insertion_jax.types import InputError


class Reference(NamedTuple):
    """Statistics of R real molecules.

    Attributes:
      title: in the names of metrics.
      fingerprints: uint8[R, 128], packed.
      fragments: counts of BRICS fragments.
      scaffolds: counts of Murcko scaffolds.
      properties: float64[R] of each of `properties.PROPERTIES`.
      chemnet: mean and covariance of ChemNet's features, or None without its weights.
      fcd_floors: by number of molecules, the Fréchet ChemNet distance of real ones;
        empty if it was not measured.
    """

    title: str
    fingerprints: np.ndarray
    fragments: Mapping[str, int]
    scaffolds: Mapping[str, int]
    properties: Mapping[str, np.ndarray]
    chemnet: Gaussian | None
    fcd_floors: Mapping[int, float]


def of_molecules(
    title: str,
    described: Sequence[Description | None],
    features: np.ndarray | None = None,
) -> Reference:
    """The statistics of any molecules.

    Args:
      title: in the names of metrics.
      described: what is None is left out.
      features: float[R, 512] of ChemNet, or None.

    Raises:
      InputError: none is valid.
    """
    real = [d for d in described if d is not None]
    if not real:
        raise InputError(f"The reference {title!r} has no valid molecule.")
    return Reference(
        title=title,
        fingerprints=np.stack([d.fingerprint for d in real]),
        fragments=building_blocks.count(name for d in real for name in d.fragments),
        scaffolds=building_blocks.count(d.scaffold for d in real),
        properties={
            name: np.array([d.properties[name] for d in real]) for name in PROPERTIES
        },
        chemnet=None if features is None else gaussian(features),
        fcd_floors={},
    )


def of_moses(split: str, data_dir: str | os.PathLike) -> Reference:
    """The statistics that MOSES ships of a split, which its published table uses.

    Takes 2 s, and 400 MB while it lasts.

    Args:
      split: "test" or "test_scaffolds".
      data_dir: where the MOSES package was fetched to.

    Raises:
      InputError: there is no such split, or the package is not there.
    """
    if split not in downloads.MOSES_STATISTICS:
        raise InputError(
            f"MOSES has no statistics of {split!r}: it has those of "
            f"{', '.join(downloads.MOSES_STATISTICS)}."
        )
    data = downloads.read(downloads.MOSES_STATISTICS[split], data_dir)
    # A pickle, which could run anything; its hash says that it is the one we know.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how old NumPy arrays were pickled
        stats = np.load(io.BytesIO(data), allow_pickle=True)["stats"].item()
    return Reference(
        title=split,
        fingerprints=np.packbits(stats["SNN"]["fps"].astype(np.uint8), axis=1),
        fragments=Counter(stats["Frag"]["frag"]),
        scaffolds=Counter(stats["Scaf"]["scaf"]),
        properties={
            name: np.asarray(stats[name]["values"], np.float64) for name in PROPERTIES
        },
        chemnet=Gaussian(
            np.asarray(stats["FCD"]["mu"], np.float64),
            np.asarray(stats["FCD"]["sigma"], np.float64),
        ),
        fcd_floors=MOSES_FLOORS[split],
    )
