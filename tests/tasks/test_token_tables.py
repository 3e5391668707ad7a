"""Rows that are too long go, and ids are those of the model."""

import numpy as np
import pytest

from insertion_jax.chemistry import smiles
from insertion_jax.tasks import token_tables
from insertion_jax.types import InputError

KNOWN = smiles.vocabulary(["C", "N", "O"])


def tables(**splits):
    """Tables of strings such as "CCO", with the number of each row."""
    result = {}
    for split, texts in splits.items():
        rows = [KNOWN.encode(list(text)) for text in texts]
        size = max(map(len, rows))
        tokens = np.array([row + [0] * (size - len(row)) for row in rows], np.int32)
        lengths = np.array([len(row) for row in rows], np.int32)
        number = np.arange(len(rows))
        result[split] = {"tokens": tokens, "lengths": lengths, "number": number}
    return result


def fit(of_splits, max_length=None, vocabulary=None):
    return token_tables.fit(
        of_splits, KNOWN, max_length=max_length, vocabulary=vocabulary, what="rows"
    )


def texts(fitted, split):
    table = fitted.tables[split]
    return [
        fitted.vocabulary.decode(row[:size])
        for row, size in zip(table["tokens"], table["lengths"], strict=True)
    ]


def test_nothing_to_do_is_nothing_done():
    given = tables(train=["CCO", "N"])
    fitted = fit(given, max_length=3, vocabulary="O N C")
    assert fitted.tables["train"]["tokens"].base is given["train"]["tokens"]
    assert (fitted.vocabulary, fitted.max_length, fitted.notes) == (KNOWN, 3, [])


def test_long_rows_go_and_are_counted():
    fitted = fit(tables(train=["CCO", "N", "CC"], test=["C"]), max_length=2)
    assert texts(fitted, "train") == ["N", "CC"]
    assert fitted.tables["train"]["number"].tolist() == [1, 2]
    assert fitted.tables["train"]["tokens"].shape == (2, 2)
    assert fitted.notes == [
        "1 of 3 rows to train have more than 2 tokens and were left out."
    ]
    # O was in a row that went.
    assert fitted.vocabulary.tokens[3:] == ("C", "N")


def test_another_vocabulary():
    fitted = fit(tables(train=["CCO", "N"]), vocabulary="O C N S =")
    assert fitted.vocabulary.tokens[3:] == ("=", "C", "N", "O", "S")
    assert texts(fitted, "train") == ["CCO", "N"]
    assert fitted.tables["train"]["tokens"][1].tolist() == [5, 0, 0]


def test_a_token_that_it_lacks():
    with pytest.raises(InputError, match="The token 'O' of 'CCO' is not in the voc"):
        fit(tables(train=["N", "CCO"]), vocabulary="C N")


def test_nothing_left():
    fitted = fit(tables(train=["CCO"]), max_length=2)
    assert len(fitted.tables["train"]["lengths"]) == 0
