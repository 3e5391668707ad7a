"""The 15,000 real molecules that come with rdkit: data that need no download."""

import csv
import functools
import pathlib

from rdkit import RDConfig


@functools.cache
def screening() -> tuple[str, ...]:
    """10,000 unique compounds of a screening collection; all parse.

    No stereo marks; 65 tokens at most, 62 if canonical.

    Returns:
      SMILES as they stand in rdkit's `Data/Pains/test_data/wehi_mols.csv`, which is
      under the licence of rdkit (BSD-3).
    """
    path = pathlib.Path(RDConfig.RDDataDir, "Pains", "test_data", "wehi_mols.csv")
    with path.open(newline="") as lines:
        return tuple(row[0] for row in csv.reader(lines))


@functools.cache
def cancer_institute() -> tuple[str, ...]:
    """4,999 compounds of the National Cancer Institute; 8 do not parse.

    Returns:
      SMILES as they stand in rdkit's `Data/NCI/first_5K.smi`, with charges, metals
      and mixtures.
    """
    path = pathlib.Path(RDConfig.RDDataDir, "NCI", "first_5K.smi")
    return tuple(line.split("\t")[0] for line in path.read_text().splitlines())
