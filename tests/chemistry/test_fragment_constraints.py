"""Fragments: what a person asks for, how it stands, and whether a molecule has it."""

import numpy as np
import pytest

from insertion_jax.chemistry import fragment_constraints, molecules, safe
from insertion_jax.types import InputError


@pytest.mark.parametrize(
    ("text", "task", "fragments"),
    [
        ("[*:1]c1ccccc1", "motif_extension", "*c1ccccc1"),
        ("[1*]c1ccc([*:7])cc1", "scaffold_decoration", "*c1ccc(*)cc1"),
        ("c1ccccc1", "superstructure_generation", "c1ccccc1"),
        ("C1CC1[*:2].[*:1]C(C)N", "linker_design", "*C1CC1.*C(C)N"),
        ("[*:1][C@H](C)N", "motif_extension", "*C(C)N"),
    ],
)
def test_what_a_text_asks_for(text, task, fragments):
    found = fragment_constraints.problem(text, "C[C@H](N)O")
    assert found == (task, fragments, "CC(N)O")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("C1CC",), "'C1CC' is not a molecule that rdkit can read."),
        (("",), "'' is not a molecule"),
        (("C*", "C1"), "'C1' is not a molecule"),
        (("CC", None, "motif_extension"), "The fragment 'CC' has no attachment point"),
        (("C*.CC",), "The fragment 'CC' has no attachment point"),
        (("C*.*C*",), "Each of the fragments 'C*.*C*' must have one attachment"),
        (("C*", None, "scaffold_morphing"), "'C*' has 1 part, but scaffold_morph"),
        (("C*.C*.C*",), "'C*.C*.C*' has 3 parts, but linker_design takes 2."),
    ],
)
def test_what_makes_no_sense(arguments, complaint):
    with pytest.raises(InputError) as caught:
        fragment_constraints.problem(*arguments)
    assert str(caught.value).startswith(complaint)


def test_beginning():
    tokens = fragment_constraints.beginning("c1ccccc1[*:1].CCO[*:2]")
    assert "".join(tokens) == "c1<1>ccccc1.O<2><3>.C<3>C."
    # With something at the open ends it is a molecule.
    whole = safe.decode("".join(tokens) + "C<1><2>")
    assert molecules.canonical(whole) == molecules.canonical("c1ccccc1COCC")


def test_drawn_open_ends():
    drawn = [
        fragment_constraints.with_open_ends("c1ccc2[nH]ccc2c1", rng)
        for rng in map(np.random.default_rng, range(30))
    ]
    assert {text.count("*") for text in drawn} == {1, 2, 3}
    assert len(set(drawn)) > 15
    assert any("n(*)" in text or "*n" in text for text in drawn)
    for text in drawn:
        assert fragment_constraints.beginning(text)[-1] == "."
        assert fragment_constraints.contains(text, "c1ccc2[nH]ccc2c1")
    with pytest.raises(InputError, match="has no hydrogen to replace"):
        fragment_constraints.with_open_ends("ClCl", np.random.default_rng(0))


@pytest.mark.parametrize(
    ("molecule", "fragments", "expected"),
    [
        ("CCOc1ccccc1", "*c1ccccc1", True),
        ("CCOc1ccccc1", "", True),
        ("CCO", "*c1ccccc1", False),
        ("Cn1cccc1", "*n1cccc1", True),
        # Two need two, that do not overlap; bonded to one another they may be.
        ("CCOc1ccccc1", "*c1ccccc1.*c1ccccc1", False),
        ("c1ccc(-c2ccccc2)cc1", "*c1ccccc1.*c1ccccc1", True),
        ("C1CCCCC1", "*c1ccccc1", False),
        ("C[C@H](N)O", "*C(C)N", True),
        # Side by side they are not joined.
        ("Nc1ccccc1.OC1CC1", "*C1CC1.*c1ccccc1", False),
        ("CCOc1ccccc1.O", "*c1ccccc1", False),
        ("C.C", "", True),
    ],
)
def test_contains(molecule, fragments, expected):
    assert fragment_constraints.contains(molecule, fragments) is expected
