"""Array metrics against one-pair-at-a-time definitions."""

import numpy as np
import pytest

from insertion_jax.tasks import sequence_scores


def levenshtein_of_pair(a, b):
    """Textbook recursion, row by row."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        previous, row = row, [i + 1]
        for j, y in enumerate(b):
            row.append(min(previous[j + 1] + 1, row[j] + 1, previous[j] + (x != y)))
    return row[-1]


def random_pairs(num_rows=400, width=9, target_width=7):
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 3, (num_rows, width))
    target = rng.integers(0, 3, (num_rows, target_width))
    length = rng.integers(0, width + 1, num_rows)
    target_length = rng.integers(0, target_width + 1, num_rows)
    tokens[0, :5] = target[0, :5]
    length[0] = target_length[0] = 5
    return tokens, length, target, target_length


def as_lists(tokens, length, target, target_length):
    for a, n, b, m in zip(tokens, length, target, target_length, strict=True):
        yield a[:n].tolist(), b[:m].tolist()


def test_levenshtein_is_the_textbook_one():
    pairs = random_pairs()
    expected = [levenshtein_of_pair(a, b) for a, b in as_lists(*pairs)]
    assert sequence_scores.levenshtein(*pairs).tolist() == expected
    assert len(set(expected)) > 5


def test_hamming_and_exact_match():
    pairs = random_pairs()
    hamming, exact = [], []
    for a, b in as_lists(*pairs):
        mismatches = sum(x != y for x, y in zip(a, b, strict=False))
        hamming.append(mismatches + abs(len(a) - len(b)))
        exact.append(a == b)
    assert sequence_scores.hamming(*pairs).tolist() == hamming
    assert sequence_scores.exact_match(*pairs).tolist() == exact
    assert 0 < sum(exact) < len(exact)


@pytest.mark.parametrize(
    "metric",
    [
        sequence_scores.num_matches,
        sequence_scores.exact_match,
        sequence_scores.hamming,
        sequence_scores.levenshtein,
    ],
)
def test_padding_is_not_read(metric):
    tokens, length, target, target_length = random_pairs()
    more = np.pad(tokens, ((0, 0), (0, 4)), constant_values=1)
    more[np.arange(more.shape[1]) >= length[:, None]] = 2
    before = metric(tokens, length, target, target_length)
    np.testing.assert_array_equal(metric(more, length, target, target_length), before)
    np.testing.assert_array_equal(metric(target, target_length, more, length), before)
