"""The report says what it could not compute, and computes the rest."""

import numpy as np

from insertion_jax.chemistry import descriptions, rdkit_molecules, reference
from insertion_jax.tasks import molecule_report


def test_without_data(tmp_path, capsys):
    molecules = rdkit_molecules.screening()[:60]
    own = reference.of_molecules("own", descriptions.describe_all(molecules[30:]))
    samples = [*molecules[:30], "C1CC"]
    report = molecule_report.of_samples(
        samples, tmp_path, train=set(), references=[own], progress=True
    )
    assert (
        "Comparing 31 samples with 30 molecules (own), which takes one core about 1 s."
        in capsys.readouterr().err
    )
    assert report.scores["valid"].total.sum() == 30
    assert 0.1 < report.scores["SNN/own"].total.sum() / 30 < 0.9
    assert report.distances["Frag/own"].num_samples == 30
    assert "filters" not in report.scores
    assert len(report.missing) == 2
    assert all("insertion_jax.chemistry.downloads" in text for text in report.missing)


def test_with_weights_and_alerts(tmp_path, monkeypatch):
    def features_of(weights, smiles, progress):
        assert weights == "weights"
        return np.random.default_rng(0).normal(size=(len(smiles), 4))

    chemnet = molecule_report.chemnet
    monkeypatch.setattr(chemnet, "read_weights", lambda _: "weights")
    monkeypatch.setattr(chemnet, "features_of", features_of)
    monkeypatch.setattr(molecule_report.filters, "moses_alerts", lambda _: ("[#9]",))
    molecules = rdkit_molecules.screening()[:20]
    described = descriptions.describe_all(molecules)
    own = reference.of_molecules("own", described, features_of("weights", molecules, 0))
    report = molecule_report.of_samples(molecules, tmp_path, references=[own])
    assert abs(report.distances["FCD/own"].value) < 1e-9
    assert 0 < report.scores["filters"].total.sum() < 20
    assert report.missing == ()


def test_a_reference_of_ones_own(tmp_path, monkeypatch):
    molecules = rdkit_molecules.screening()
    held_out, real = molecules[:30], molecules[30:60]
    without = molecule_report.reference_of(held_out, real, 20, tmp_path)
    assert (without.title, without.chemnet) == ("test", None)

    def features_of(weights, smiles, progress):
        return np.array([[len(text), text.count("C")] for text in smiles], float)

    monkeypatch.setattr(molecule_report.chemnet, "read_weights", lambda _: "weights")
    monkeypatch.setattr(molecule_report.chemnet, "features_of", features_of)
    found = molecule_report.reference_of(held_out, real, 20, tmp_path)
    ((size, floor),) = found.fcd_floors.items()
    assert size == 20 and 0 < floor < 100
    # There are too few real ones to say what as many reach.
    assert not molecule_report.reference_of(held_out, real, 31, tmp_path).fcd_floors


def test_valid_strings_are_counted():
    assert molecule_report.num_valid(["CC", "C1C", "", "c1ccccc1"]) == 2
