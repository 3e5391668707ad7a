"""Comparing generated sequences with targets, a whole batch at a time.

Every function takes `tokens: int[N, T]` and `length: int[N]` of the generated
sequences, then the same of the targets: `target: int[N, S]`, `target_length:
int[N]`. Only the first `length` entries of a row are read, and the two widths may
differ.
"""

import numpy as np


def num_matches(
    tokens: np.ndarray,
    length: np.ndarray,
    target: np.ndarray,
    target_length: np.ndarray,
) -> np.ndarray:
    """Counts the positions at which both sequences hold the same token.

    Returns:
      int64[N].
    """
    width = min(tokens.shape[1], target.shape[1])
    in_both = np.arange(width) < np.minimum(length, target_length)[:, None]
    return ((tokens[:, :width] == target[:, :width]) & in_both).sum(axis=1)


def exact_match(
    tokens: np.ndarray,
    length: np.ndarray,
    target: np.ndarray,
    target_length: np.ndarray,
) -> np.ndarray:
    """Says which sequences are their targets, token for token.

    Returns:
      bool[N].
    """
    matches = num_matches(tokens, length, target, target_length)
    return (length == target_length) & (matches == target_length)


def hamming(
    tokens: np.ndarray,
    length: np.ndarray,
    target: np.ndarray,
    target_length: np.ndarray,
) -> np.ndarray:
    """Counts mismatches; each position that only one sequence has is one, too.

    Returns:
      int64[N].
    """
    matches = num_matches(tokens, length, target, target_length)
    return np.maximum(length, target_length) - matches


def levenshtein(
    tokens: np.ndarray,
    length: np.ndarray,
    target: np.ndarray,
    target_length: np.ndarray,
) -> np.ndarray:
    """Least number of insertions, deletions and substitutions between the two.

    Returns:
      int64[N].
    """
    columns = np.arange(target.shape[1] + 1)
    distance = np.tile(columns, (len(tokens), 1))
    for i in range(tokens.shape[1]):
        best = distance + 1
        changed = tokens[:, i, None] != target
        best[:, 1:] = np.minimum(best[:, 1:], distance[:, :-1] + changed)
        # Insertions chain along the row: the least of best[k] + (j - k) over
        # k <= j. A running minimum does the whole row at once.
        best = np.minimum.accumulate(best - columns, axis=1) + columns
        distance = np.where((i < length)[:, None], best, distance)
    return np.take_along_axis(distance, target_length[:, None], axis=1)[:, 0]
