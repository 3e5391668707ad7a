"""Molecules and data that several tests share."""

import os
import pathlib

import pytest

from insertion_jax.chemistry import descriptions, downloads, rdkit_molecules
from insertion_jax.types import InputError

REPOSITORY = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="session")
def described():
    """200 real molecules, described once."""
    molecules = rdkit_molecules.screening()[:200]
    return descriptions.describe_all(molecules)


@pytest.fixture
def data_dir():
    """The folder with packages that were fetched; without them a test is skipped."""
    folder = os.environ.get("INSERTION_JAX_DATA", REPOSITORY / "data")
    for file in (downloads.MOSES_MCF, downloads.CHEMNET_WEIGHTS):
        try:
            downloads.read(file, folder)
        except InputError as error:
            pytest.skip(str(error))
    return folder
