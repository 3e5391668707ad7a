"""Padding rows, and refusing examples that training could not use."""

import numpy as np
import pytest

from insertion_jax.tasks import examples
from insertion_jax.types import Batch, InputError

VOCAB = 9


def two_rows():
    """Row 1 is `4 [5] 6` with an anchor in the middle and its last gap closed."""
    tokens, mask = examples.pad([[3, 4], [4, 5, 6]], 4, "target")
    prompt, prompt_mask = examples.pad([[7], [8, 3]], 3, "prompt")
    anchored = np.zeros((2, 4), bool)
    anchored[1, 1] = True
    closed = np.zeros((2, 5), bool)
    return Batch(
        prompt=prompt,
        prompt_mask=prompt_mask,
        tokens=tokens,
        length=mask.sum(axis=1, dtype=np.int32),
        anchored=anchored,
        closed=closed,
        index=np.arange(2, dtype=np.int32),
    )


def changed(field, index, value):
    batch = two_rows()
    getattr(batch, field)[index] = value
    return batch


def test_pad():
    tokens, mask = examples.pad([[3, 4], [], [5, 6, 7]], 3, "row")
    np.testing.assert_array_equal(tokens, [[3, 4, 0], [0, 0, 0], [5, 6, 7]])
    np.testing.assert_array_equal(mask, [[1, 1, 0], [0, 0, 0], [1, 1, 1]])
    assert (tokens.dtype, mask.dtype) == (np.int32, bool)


def test_pad_without_rows():
    tokens, mask = examples.pad([], 3, "row")
    assert tokens.shape == mask.shape == (0, 3)


def test_pad_refuses_a_row_that_is_too_long():
    with pytest.raises(InputError) as caught:
        examples.pad([[3], [3, 4, 5], [3, 4]], 2, "target")
    assert (
        str(caught.value) == "The target in row 1 has 3 tokens; at most 2 are allowed."
    )


@pytest.mark.parametrize(
    "batch",
    [
        two_rows(),
        changed("length", 0, 0),
        # What is behind the length, or hidden by the mask, is nobody's business.
        changed("tokens", (0, 3), 99),
        changed("prompt", (0, 2), -5),
        # The only token of this gap is missing: it is shut, but nothing goes there.
        changed("length", 1, 2)._replace(
            closed=np.array([[0] * 5, [0, 1, 0, 0, 0]], bool)
        ),
    ],
)
def test_check_lets_pass(batch):
    examples.check(batch, VOCAB)


def test_check_lets_no_rows_pass():
    examples.check(Batch(*(x[:0] for x in two_rows())), VOCAB)


def test_check_needs_an_open_last_gap_for_eos():
    batch = changed("closed", (1, 1), True)._replace(length=np.array([2, 2], np.int32))
    examples.check(batch, VOCAB)
    with pytest.raises(InputError, match="Example 1 has a closed last gap"):
        examples.check(batch, VOCAB, ends_with_eos=True)
    # Gap 2 lies behind an anchor that is not there.
    examples.check(changed("closed", (1, 2), True), VOCAB, ends_with_eos=True)


@pytest.mark.parametrize(
    ("batch", "complaint"),
    [
        (
            changed("length", 1, 5),
            "Example 1 has length 5; lengths of 0 to 4 are allowed.",
        ),
        (
            changed("length", 0, -1),
            "Example 0 has length -1; lengths of 0 to 4 are allowed.",
        ),
        (
            changed("tokens", (1, 2), 9),
            "Example 1 has the token 9 in its target; "
            + "the vocabulary's tokens are 0 to 8.",
        ),
        (
            changed("prompt", (1, 1), -1),
            "Example 1 has the token -1 in its prompt; "
            + "the vocabulary's tokens are 0 to 8.",
        ),
        (
            changed("anchored", (0, 2), True),
            "Example 0 has an anchor at position 2, beyond its length 2.",
        ),
        (
            changed("closed", (1, 1), True),
            "Example 1 has a token at position 2 to insert into gap 1, which is closed.",
        ),
        (
            changed("closed", (0, 0), True),
            "Example 0 has a token at position 0 to insert into gap 0, which is closed.",
        ),
    ],
)
def test_check_refuses(batch, complaint):
    with pytest.raises(InputError) as caught:
        examples.check(batch, VOCAB)
    assert str(caught.value) == complaint


def test_check_wants_something_to_insert():
    batch = changed("length", 0, 0)
    examples.check(batch, VOCAB)
    with pytest.raises(InputError, match="Example 0 has 0 tokens to insert, but meth"):
        examples.check(batch, VOCAB, min_insertions=1)
