"""Pieces in another order: the same molecule, and what is given hangs together."""

import collections

import numpy as np
import pytest

from insertion_jax.chemistry import molecules, rdkit_molecules, safe, safe_pieces
from insertion_jax.chemistry.smiles import tokenize


@pytest.fixture(scope="module")
def texts():
    """SAFE of real molecules, some with one piece only."""
    return [safe.encode(text) for text in rdkit_molecules.screening()[:60]]


def test_split_and_join():
    tokens = tokenize("C<3>C.C<3>O<1>.N<1>")
    pieces = safe_pieces.split(tokens)
    assert ["".join(piece) for piece in pieces] == ["C<3>C", "C<3>O<1>", "N<1>"]
    assert "".join(safe_pieces.joined(pieces)) == "C<1>C.C<1>O<2>.N<2>"
    assert "".join(safe_pieces.joined(pieces[::-1])) == "N<1>.C<2>O<1>.C<2>C"


def test_the_molecule_is_the_same(texts):
    seen = set()
    for number, text in enumerate(texts):
        for seed in range(2):
            rng = np.random.default_rng([number, seed])
            tokens, num_given = safe_pieces.rearranged(
                tokenize(text), rng, given_share=0.5
            )
            new = "".join(tokens)
            seen.add(new)
            assert molecules.canonical(safe.decode(new)) == molecules.canonical(
                safe.decode(text)
            )
            assert sorted(tokens) == sorted(tokenize(text))
            assert num_given == 0 or tokens[num_given - 1] == "."
            assert num_given < len(tokens)
    assert len(seen) > len(texts)


def test_what_is_given(texts):
    kinds = collections.Counter()
    for number, text in enumerate(texts):
        rng = np.random.default_rng(number)
        tokens, num_given = safe_pieces.rearranged(tokenize(text), rng, given_share=1)
        if "<" not in text:
            assert num_given == 0
            continue
        given = safe.fragments_of("".join(tokens[: num_given - 1]))
        parts = given.split(".")
        kinds[len(parts)] += 1
        # Something can be added, to each; two parts have a linker between them.
        assert all("*" in part for part in parts)
        if len(parts) == 2:
            assert [part.count("*") for part in parts] == [1, 1]
    assert kinds.keys() == {1, 2} and min(kinds.values()) > 15


def test_nothing_is_given_without_a_share(texts):
    rng = np.random.default_rng(0)
    found = [
        safe_pieces.rearranged(tokenize(text), rng, given_share=0.0) for text in texts
    ]
    assert not any(num_given for _, num_given in found)


def test_pieces_without_bonds_are_not_given():
    rng = np.random.default_rng(0)
    tokens, num_given = safe_pieces.rearranged(tokenize("CC.O"), rng, given_share=1.0)
    assert num_given == 0
    assert sorted(tokens) == [".", "C", "C", "O"]


def test_two_parts_are_the_ends_of_a_chain():
    pieces = safe_pieces.split(tokenize("C<1>.N<1><2>.O<2><3>.F<3>"))
    drawn = set()
    for seed in range(60):
        parts = safe_pieces.draw_parts(pieces, np.random.default_rng(seed))
        if len(parts) == 2:
            drawn.add(str(parts))
    assert drawn == {"[[0], [2, 3]]", "[[0], [3]]", "[[0, 1], [3]]"}
