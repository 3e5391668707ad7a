"""All that the metrics need to know of one molecule, computed in one pass."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rdkit import Chem

from insertion_jax.chemistry import (
    building_blocks,
    filters,
    molecules,
    similarity,
    workers,
)
from insertion_jax.chemistry.properties import properties


class Description(NamedTuple):
    """What one molecule is.

    Attributes:
      smiles: canonical.
      connected: one component.
      properties: of `properties.PROPERTIES`.
      fingerprint: uint8[128], packed.
      fragments: BRICS fragments.
      scaffold: with two rings or more, or None.
      passes_filters: None if no alerts were given.
    """

    smiles: str
    connected: bool
    properties: dict[str, float]
    fingerprint: np.ndarray
    fragments: tuple[str, ...]
    scaffold: str | None
    passes_filters: bool | None


def describe(text: str, alerts: tuple[str, ...] = ()) -> Description | None:
    """Describes a molecule: 3 ms, and 5 ms more for the alerts of MOSES.

    On a core that is shared it takes twice as long.

    Args:
      text: anything.
      alerts: SMARTS of `filters.moses_alerts` or `filters.pains_alerts`.

    Returns:
      None if the text is not a molecule.
    """
    mol = molecules.parse(text)
    if mol is None:
        return None
    return Description(
        smiles=Chem.MolToSmiles(mol),
        connected=molecules.is_connected(mol),
        properties=properties(mol),
        fingerprint=similarity.fingerprint(mol),
        fragments=building_blocks.brics_fragments(mol),
        scaffold=building_blocks.murcko_scaffold(mol),
        passes_filters=filters.passes(mol, alerts) if alerts else None,
    )


def describe_all(
    texts: Sequence[str],
    alerts: tuple[str, ...] = (),
    *,
    num_workers: int | None = None,
    progress: bool = False,
) -> list[Description | None]:
    """Describes many molecules in worker processes, each different string once.

    Args:
      texts: N strings.
      alerts: as in `describe`.
      num_workers: as in `workers.run`.
      progress: show how far it is.

    Returns:
      N descriptions; None where a text is not a molecule.
    """
    unique = list(dict.fromkeys(texts))
    found = workers.run(
        functools.partial(describe, alerts=alerts),
        unique,
        title="describing molecules",
        num_workers=num_workers,
        progress=progress,
    )
    of_text = dict(zip(unique, found, strict=True))
    return [of_text[text] for text in texts]
