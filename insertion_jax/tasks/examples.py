"""Rows of token ids as a `Batch`, and what every `Batch` must satisfy."""

import itertools
from collections.abc import Sequence

import numpy as np

from insertion_jax.types import PAD_ID, Batch, InputError

_BLOCK = 65_536


def pad(
    rows: Sequence[Sequence[int]], width: int, what: str
) -> tuple[np.ndarray, np.ndarray]:
    """Stacks rows of different lengths.

    Args:
      rows: N lists of token ids.
      width: of the result.
      what: a row is called, in messages.

    Returns:
      int32[N, width], right-padded, and its bool[N, width] mask of tokens.

    Raises:
      InputError: a row is longer than `width`.
    """
    lengths = np.array([len(row) for row in rows], np.int32)
    if len(rows) and lengths.max() > width:
        raise InputError(
            f"The {what} in row {lengths.argmax()} has {lengths.max()} tokens; at most "
            f"{width} are allowed."
        )
    mask = np.arange(width) < lengths[:, None]
    tokens = np.full(mask.shape, PAD_ID, np.int32)
    flat = itertools.chain.from_iterable(rows)
    tokens[mask] = np.fromiter(flat, np.int32, lengths.sum())
    return tokens, mask


def check(
    examples: Batch,
    vocab_size: int,
    *,
    ends_with_eos: bool = False,
    min_insertions: int = 0,
) -> None:
    """Checks what training relies on and what no shape can say.

    Args:
      examples: N rows.
      vocab_size: V.
      ends_with_eos: an EOS token has to go into the last gap.
      min_insertions: tokens that have to be inserted at least.

    Raises:
      InputError: names the first row with a token outside the vocabulary, a length
        beyond the padding, an anchor beyond the length, a token to insert into a
        closed gap, or too few tokens to insert.
    """
    # In blocks, as what is computed on the way is larger than the examples.
    for start in range(0, len(examples.length), _BLOCK):
        rows = Batch(*(x[start : start + _BLOCK] for x in examples))
        _check_block(rows, start, vocab_size, ends_with_eos, min_insertions)


def _check_block(examples, start, vocab_size, ends_with_eos, min_insertions):
    def refuse(bad, reason):
        if bad.any():
            row = int(np.argmax(bad))
            raise InputError(f"Example {start + row} {reason(row)}.")

    size = examples.tokens.shape[1]
    inside = np.arange(size) < examples.length[:, None]
    refuse(
        (examples.length < 0) | (examples.length > size),
        lambda row: (
            f"has length {examples.length[row]}; lengths of 0 to {size} are allowed"
        ),
    )
    for name, tokens, mask in (
        ("prompt", examples.prompt, examples.prompt_mask),
        ("target", examples.tokens, inside),
    ):
        unknown = mask & ((tokens < 0) | (tokens >= vocab_size))
        refuse(
            unknown.any(axis=1),
            lambda row, tokens=tokens, unknown=unknown, name=name: (
                f"has the token {tokens[row][unknown[row]][0]} in its {name}; the "
                f"vocabulary's tokens are 0 to {vocab_size - 1}"
            ),
        )
    to_insert = examples.length - examples.anchored.sum(axis=1)
    refuse(
        to_insert < min_insertions,
        lambda row: (
            f"has {to_insert[row]} tokens to insert, but method.min_insertions is "
            f"{min_insertions}"
        ),
    )
    if not examples.anchored.any() and not examples.closed.any():
        return  # which saves seconds with a million molecules
    beyond = examples.anchored & ~inside
    refuse(
        beyond.any(axis=1),
        lambda row: (
            f"has an anchor at position {beyond[row].argmax()}, beyond its length "
            f"{examples.length[row]}"
        ),
    )
    if ends_with_eos:
        last_gap = examples.anchored.sum(axis=1)[:, None]
        refuse(
            np.take_along_axis(examples.closed, last_gap, axis=1)[:, 0],
            lambda row: "has a closed last gap, where EOS termination has to write EOS",
        )
    gap = np.cumsum(examples.anchored, axis=1) - examples.anchored
    closed = np.take_along_axis(examples.closed, gap, axis=1)
    shut = inside & ~examples.anchored & closed
    refuse(
        shut.any(axis=1),
        lambda row: (
            f"has a token at position {shut[row].argmax()} to insert into gap "
            f"{gap[row][shut[row]][0]}, which is closed"
        ),
    )
