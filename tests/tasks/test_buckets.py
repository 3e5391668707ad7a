"""Widths of buckets: enough, no more than needed, and the best of their number."""

import itertools

import numpy as np
import pytest

from insertion_jax.tasks import buckets
from insertion_jax.types import InputError

LENGTHS = np.random.default_rng(0).integers(3, 15, 200)


@pytest.mark.parametrize("max_padding", [0.3, 0.15, 0.05, 0.01])
def test_the_fewest_widths_that_do(max_padding):
    chosen = buckets.widths(LENGTHS, max_padding)
    assert chosen[-1] == LENGTHS.max()
    assert buckets.padding(LENGTHS, chosen) <= max_padding
    sizes = range(3, 14)
    fewer = itertools.combinations(sizes, len(chosen) - 2) if len(chosen) > 1 else []
    for others in fewer:
        assert buckets.padding(LENGTHS, [*others, 14]) > max_padding
    best = min(
        buckets.padding(LENGTHS, [*others, 14])
        for others in itertools.combinations(sizes, len(chosen) - 1)
    )
    assert buckets.padding(LENGTHS, chosen) == pytest.approx(best)


def test_one_length():
    assert buckets.widths(np.array([5, 5])) == [5]
    assert buckets.padding(np.array([5, 5]), [5]) == 0


def test_bad_input():
    with pytest.raises(InputError, match=r"it must lie in \(0, 1\)"):
        buckets.widths(LENGTHS, 1.0)
