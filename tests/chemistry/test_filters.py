"""Filters: each rule on its own, PAINS, and those of MOSES where they were fetched."""

import pytest
from rdkit import Chem

from insertion_jax.chemistry import downloads, filters, molecules

QUINONE = "O=C1C=CC(=O)C=C1N=Nc1ccccc1"


@pytest.mark.parametrize(
    ("text", "passing"),
    [
        ("CC(=O)Nc1ccccc1", True),
        ("C1CCCCCC1", True),
        ("C1CCCCCCC1", False),
        ("C[N+](C)(C)C", False),
        ("CI", False),
        ("CP", False),
        ("C[Si](C)(C)C", False),
        ("CBr", True),
    ],
)
def test_rules(text, passing):
    assert filters.passes(molecules.parse(text), ()) is passing


def test_alerts_may_name_hydrogen():
    mol = molecules.parse("CCO")
    assert not filters.passes(mol, ("[#8]-[#1]",))
    assert filters.passes(mol, ("[#16]-[#1]",))


def test_pains():
    alerts = filters.pains_alerts()
    assert len(alerts) == 480
    assert all(Chem.MolFromSmarts(smarts) is not None for smarts in alerts)
    assert not filters.passes(molecules.parse(QUINONE), alerts)
    assert filters.passes(molecules.parse("CC(=O)Nc1ccccc1"), alerts)


def test_catalogues():
    assert filters.has_alert(molecules.parse(QUINONE))
    assert not filters.has_alert(molecules.parse("CC(=O)Nc1ccccc1"))
    assert filters.has_alert(molecules.parse("CC=O"), "BRENK")


@pytest.mark.slow
def test_the_alerts_of_moses(data_dir):
    alerts = filters.moses_alerts(data_dir)
    assert len(alerts) == 502
    assert all(Chem.MolFromSmarts(smarts) is not None for smarts in alerts)
    # MOSES was made by these filters.
    for text in downloads.moses_smiles("train", data_dir)[:200]:
        assert filters.passes(molecules.parse(text), alerts)
    assert not filters.passes(molecules.parse("CC=O"), alerts)
