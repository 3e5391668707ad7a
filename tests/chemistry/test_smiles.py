"""Tokens of SMILES: nothing lost, nothing unknown passed over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insertion_jax.chemistry import downloads, rdkit_molecules, smiles
from insertion_jax.types import InputError


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("CCl", ["C", "Cl"]),
        ("BrC", ["Br", "C"]),
        ("c1cc[nH]c1", ["c", "1", "c", "c", "[nH]", "c", "1"]),
        ("C[C@@H](N)C", ["C", "[C@@H]", "(", "N", ")", "C"]),
        ("C%12CC%12", ["C", "%12", "C", "C", "%12"]),
        ("C%(123)C%(123)", ["C", "%(123)", "C", "%(123)"]),
        ("F/C=C\\F", ["F", "/", "C", "=", "C", "\\", "F"]),
        ("[NH3]->[Pt+2]", ["[NH3]", "->", "[Pt+2]"]),
        ("C<1>.N<12>", ["C", "<1>", ".", "N", "<12>"]),
        ("[13CH4].[*:1]*", ["[13CH4]", ".", "[*:1]", "*"]),
        ("", []),
    ],
)
def test_tokens(text, tokens):
    assert smiles.tokenize(text) == tokens


def test_lossless_on_real_molecules():
    molecules = rdkit_molecules.screening()[:2000] + rdkit_molecules.cancer_institute()
    vocabulary = smiles.vocabulary(t for m in molecules for t in smiles.tokenize(m))
    for molecule in molecules:
        ids = vocabulary.encode(smiles.tokenize(molecule))
        assert min(ids) >= 3
        assert vocabulary.decode(ids) == molecule


@pytest.mark.slow
@pytest.mark.parametrize("split", list(downloads.MOSES_SPLITS))
def test_lossless_on_moses(split, data_dir):
    molecules = downloads.moses_smiles(split, data_dir)
    assert len(molecules) > 170_000
    assert all("".join(smiles.tokenize(m)) == m for m in molecules)


@given(st.text(alphabet="CNOcn[]()12%<>BrlH@+-=#./ é", max_size=12))
def test_any_text_is_tokenised_whole_or_refused(text):
    try:
        tokens = smiles.tokenize(text)
    except InputError as error:
        assert repr(text) in str(error)
    else:
        assert "".join(tokens) == text
        assert not any(character in text for character in " é")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("CC C", "The character ' ' at position 2 of 'CC C' is not part of a SMILES"),
        ("C[NH", "The character '[' at position 1"),
        ("CZ", "The character 'Z' at position 1"),
        ("C%1C", "The character '%' at position 1"),
    ],
)
def test_what_is_no_token_is_named(text, complaint):
    with pytest.raises(InputError) as caught:
        smiles.tokenize(text)
    assert complaint in str(caught.value)


def test_vocabulary():
    vocabulary = smiles.vocabulary(["c", "C", "(", "C"])
    assert vocabulary.tokens == ("<pad>", "<bos>", "<eos>", "(", "C", "c")
    assert vocabulary.encode(["c", "C"]) == [5, 4]
    assert vocabulary.decode([5, 0, 4]) == "c<pad>C"


def test_unknown_tokens_are_named():
    vocabulary = smiles.vocabulary("CN")
    with pytest.raises(InputError) as caught:
        vocabulary.encode(["C", "Br"])
    assert str(caught.value) == (
        "The token 'Br' of 'CBr' is not in the vocabulary, which has C N."
    )
    with pytest.raises(InputError, match="token id 5 does not exist: ids are 0 to 4"):
        vocabulary.decode([3, 5])


def test_kinds():
    kinds = {
        "atom": ["C", "Cl", "n", "[nH]", "[C@@H]", "*", "[13CH3]"],
        "bond": ["-", "=", "#", "/", "\\", ":", "~", "->", "<-", "$"],
        "ring": ["1", "%12", "%(123)"],
        "parenthesis": ["(", ")"],
        "dot": ["."],
        "attachment": ["<1>", "<12>"],
    }
    for kind, tokens in kinds.items():
        assert [smiles.kind(token) for token in tokens] == [kind] * len(tokens)
