"""Whether fragments survive: real linkers pass, each way to spoil one does not."""

import pytest

from insertion_jax.chemistry import fragments, rdkit_molecules
from insertion_jax.chemistry.survival import Linked, examine

NOTHING = Linked(None, False, False, None)


@pytest.fixture(scope="module")
def pair():
    return fragments.fragment_strings(fragments.parse_fragments("c1ccccc1*.*C1CC1"))


def test_real_linkers():
    cuts = [
        cut
        for text in rdkit_molecules.screening()[:40]
        for cut in fragments.double_cuts(text)
    ]
    assert len(cuts) > 30
    for cut in cuts:
        linked = examine(*fragments.linker_strings(cut))
        assert linked == Linked(
            cut.molecule, True, True, fragments.plain_linker(cut.linker)
        )


@pytest.mark.parametrize(
    ("linker", "expected"),
    [
        ("C", "*C*"),
        ("C(=O)N", "*NC(*)=O"),
        ("NC(=O)", "*NC(*)=O"),
        ("-c3ccc(cc3)", "*c1ccc(*)cc1"),
        ("N([H])", "*N*"),
    ],
)
def test_linkers(pair, linker, expected):
    linked = examine(pair[0], linker, pair[1])
    assert (linked.valid, linked.survived, linked.linker) == (True, True, expected)


@pytest.mark.parametrize(
    "linker", ["", "-", "C.C", "C2C", "C(", "C)C(", "=C", "C C", "<pad>", "[H]", "%12"]
)
def test_what_is_no_molecule(pair, linker):
    assert examine(pair[0], linker, pair[1]) == NOTHING


def test_a_double_bond_to_a_fragment_is_valid_but_no_survival(pair):
    linked = examine(pair[0], "CC=", pair[1])
    assert (linked.valid, linked.survived, linked.linker) == (True, False, None)


@pytest.mark.parametrize(
    ("first", "linker", "second"),
    [
        # A ring through the linker and a fragment.
        ("C(C1)", "CC1C", "N"),
        # A bond between the fragments.
        ("C(C1)", "C", "NC1"),
        # Not at the marked atom.
        ("CC", "O", "N"),
        # Two bonds from the linker to a fragment.
        ("C", "C1CC", "NC1"),
    ],
)
def test_each_condition(first, linker, second):
    # No linker does this to fragments that are closed; the conditions hold anyway.
    linked = examine(first, linker, second)
    assert linked.valid
    assert not linked.survived


def test_the_control_of_each_condition_survives():
    assert examine("C(C)", "CC", "NC").survived
