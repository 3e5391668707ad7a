"""Structural alerts and the medicinal-chemistry rules of MOSES.

MOSES (Polykovskiy et al., arXiv 1811.12823) lets a molecule pass that has no ring of
8 or more atoms, no charged atom, no element but C, N, S, O, F, Cl, Br and H, and none
of 502 substructures: 480 of PAINS (Baell and Holloway, 2010) and 22 medicinal-
chemistry filters (MCF). They are read from the MOSES package where it was fetched.
rdkit comes with PAINS alone, in a revision that is not letter for letter the same: what
passes that is another rate, and has another name.
"""

import csv
import functools
import io
import os
import pathlib

from rdkit import Chem, RDConfig
from rdkit.Chem import FilterCatalog

from insertion_jax.chemistry import downloads

_ELEMENTS = {"C", "N", "S", "O", "F", "Cl", "Br", "H"}
_MAX_RING = 7


def pains_alerts() -> tuple[str, ...]:
    """The 480 SMARTS of PAINS, as rdkit ships them; many name hydrogen atoms."""
    path = pathlib.Path(RDConfig.RDDataDir, "Pains", "wehi_pains.csv")
    return tuple(row[0].strip() for row in _rows(path.read_text()))


def moses_alerts(data_dir: str | os.PathLike) -> tuple[str, ...]:
    """The 502 SMARTS of MOSES: MCF, then PAINS.

    Args:
      data_dir: where the MOSES package was fetched to.

    Raises:
      InputError: it was not.
    """
    mcf = _rows(downloads.read(downloads.MOSES_MCF, data_dir).decode())
    pains = _rows(downloads.read(downloads.MOSES_PAINS, data_dir).decode())
    return tuple(row[1] for row in mcf[1:]) + tuple(row[0].strip() for row in pains)


def _rows(text):
    return list(csv.reader(io.StringIO(text)))


def passes(mol: Chem.Mol, alerts: tuple[str, ...]) -> bool:
    """Whether a molecule keeps all rules; 4.6 ms with the alerts of MOSES.

    Args:
      mol: the molecule.
      alerts: SMARTS of `moses_alerts` or `pains_alerts`.
    """
    if any(len(ring) > _MAX_RING for ring in mol.GetRingInfo().AtomRings()):
        return False
    if any(
        atom.GetFormalCharge() or atom.GetSymbol() not in _ELEMENTS
        for atom in mol.GetAtoms()
    ):
        return False
    with_hydrogens = Chem.AddHs(mol)
    return not any(map(with_hydrogens.HasSubstructMatch, _compiled(alerts)))


@functools.lru_cache(maxsize=4)
def _compiled(alerts):
    return tuple(map(Chem.MolFromSmarts, alerts))


def has_alert(mol: Chem.Mol, catalog: str = "PAINS") -> bool:
    """Whether a molecule matches a catalogue of rdkit.

    Args:
      mol: the molecule; hydrogen need not be added.
      catalog: a name of `FilterCatalogParams.FilterCatalogs`: PAINS, BRENK, NIH,
        ZINC, CHEMBL, ...
    """
    return _catalog(catalog).HasMatch(mol)


@functools.cache
def _catalog(name):
    params = FilterCatalog.FilterCatalogParams()
    params.AddCatalog(getattr(params.FilterCatalogs, name))
    return FilterCatalog.FilterCatalog(params)
