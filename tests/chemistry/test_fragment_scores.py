"""Metrics of molecules around fragments, by hand."""

import numpy as np
import pytest

from insertion_jax import estimates
from insertion_jax.chemistry import descriptions, fragment_scores
from insertion_jax.chemistry.fragment_constraints import Problem

BENZENE = Problem("motif_extension", "*c1ccccc1", "Cc1ccccc1")
AMINE = Problem("motif_extension", "*NC", None)


def values(problems, texts):
    described = [descriptions.describe_all(some) for some in texts]
    answered = [
        fragment_scores.answers([problem] * len(some), some)
        for problem, some in zip(problems, described, strict=True)
    ]
    found = fragment_scores.scores(problems, answered)
    assert all(len(s.total) == len(problems) for s in found.values())
    return {name: estimates.estimate(score).value for name, score in found.items()}


def test_one_problem():
    # One lacks the fragment, one is no molecule, one comes twice.
    texts = ["Cc1ccccc1", "Cc1ccccc1", "CCc1ccccc1", "CCO", "C1C"]
    found = values([BENZENE], [texts])
    assert found["valid"] == 3 / 5
    assert found["unique"] == 2 / 3
    assert 0 < found["diversity"] < 1
    # One of the two is the molecule itself.
    assert found["distance"] == pytest.approx(found["diversity"] / 2, abs=0.05)
    assert found["quality"] <= 3 / 5


def test_no_valid_sample_counts_as_nothing_or_not_at_all():
    alone = values([BENZENE], [["Cc1ccccc1", "CCc1ccccc1"]])
    both = values([BENZENE, AMINE], [["Cc1ccccc1", "CCc1ccccc1"], ["C", "C1"]])
    for name in ("valid", "unique", "quality"):
        assert both[name] == alone[name] / 2
    for name in ("diversity", "distance"):
        assert both[name] == alone[name]


def test_quality_counts_what_repeats():
    good = "O=C(Nc1ccccc1)c1ccncc1"
    found = values([BENZENE], [[good, good, "c1ccccc1", "Cc1ccccc1"]])
    assert found["quality"] == 1 / 2


def test_distance_needs_a_molecule():
    found = values([AMINE], [["CNC", "CNCC"]])
    assert found["valid"] == 1
    assert np.isnan(found["distance"])
