"""Buckets of lengths: the best widths, and which rows a step gets."""

import itertools

import numpy as np
import pytest

from insertion_jax.training import buckets
from insertion_jax.types import Batch, InputError

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


# Rows.

GROUP, BATCH = 4, 6


def of_length(max_padding=0.1):
    return buckets.make(LENGTHS, max_padding, GROUP)


def test_buckets_share_out_the_examples():
    made = of_length()
    assert len(made.widths) > 1
    assert sorted(np.concatenate(made.rows)) == list(range(len(LENGTHS)))
    smaller = 0
    for width, rows in zip(made.widths, made.rows, strict=True):
        assert smaller < LENGTHS[rows].min()
        assert LENGTHS[rows].max() == width
        smaller = width


def test_a_group_of_steps_has_one_width_that_fits():
    made = of_length()
    found = [buckets.rows_at(made, 3, step, BATCH) for step in range(40 * GROUP)]
    widths = np.array([width for _, width in found]).reshape(-1, GROUP)
    assert (widths == widths[:, :1]).all()
    assert set(widths[:, 0]) == set(made.widths)
    for rows, width in found:
        assert rows.shape == (BATCH,)
        assert LENGTHS[rows].max() <= width
    # Neither the seed nor the step is forgotten.
    again = [buckets.rows_at(made, 3, step, BATCH)[0] for step in range(8)]
    np.testing.assert_array_equal(again, [rows for rows, _ in found[:8]])
    other = [buckets.rows_at(made, 4, step, BATCH)[0] for step in range(8)]
    assert not np.array_equal(again, other)


def test_a_bucket_is_gone_through_before_it_begins_anew():
    made = of_length()
    longest = len(made.widths) - 1
    seen = []
    for step in range(400 * GROUP):
        rows, width = buckets.rows_at(made, 0, step, BATCH)
        if width == made.widths[longest]:
            seen.extend(rows)
    size = len(made.rows[longest])
    assert len(seen) > 3 * size
    for epoch in range(3):
        rows = seen[epoch * size : (epoch + 1) * size]
        assert sorted(rows) == made.rows[longest].tolist()


def test_every_example_has_the_same_chance():
    """How often buckets are drawn against their sizes, by Pearson's statistic."""
    made = of_length()
    num_groups = 4_000
    widths = [
        buckets.rows_at(made, 1, group * GROUP, 1)[1] for group in range(num_groups)
    ]
    counts = np.array([widths.count(width) for width in made.widths])
    sizes = np.array([len(rows) for rows in made.rows])

    def statistic(shares):
        expected = num_groups * shares
        return ((counts - expected) ** 2 / expected).sum()

    limit = 40.0  # far beyond what chance gives with this few buckets
    assert statistic(sizes / sizes.sum()) < limit
    # Not as if each bucket were drawn as often as the others.
    assert statistic(np.full(len(sizes), 1 / len(sizes))) > limit


def test_rows_repeat_only_where_a_bucket_begins_anew():
    made = buckets.make(np.array([1, 9, 9, 9, 9]), 0.1, 1)
    assert made.widths == (1, 9)
    drawn = [buckets.rows_at(made, 0, step, 3)[0].tolist() for step in range(40)]
    assert [0, 0, 0] in drawn
    longer = [row for rows in drawn if rows != [0, 0, 0] for row in rows]
    assert len(longer) > 24
    for start in range(0, len(longer) - 3, 4):
        assert sorted(longer[start : start + 4]) == [1, 2, 3, 4]


def test_trim_cuts_padding_alone():
    size = 7
    batch = Batch(
        prompt=np.zeros((2, 3)),
        prompt_mask=np.zeros((2, 3)),
        tokens=np.arange(2 * size).reshape(2, size),
        length=np.array([4, 2]),
        anchored=np.ones((2, size), bool),
        closed=np.ones((2, size + 1), bool),
        index=np.arange(2),
    )
    cut = buckets.trim(batch, 4)
    np.testing.assert_array_equal(cut.tokens, batch.tokens[:, :4])
    assert cut.anchored.shape == (2, 4)
    assert cut.closed.shape == (2, 5)
    assert cut.prompt is batch.prompt
