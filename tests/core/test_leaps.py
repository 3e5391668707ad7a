import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables

from insertion_jax.core import leaps
from insertion_jax.types import Canvas

MASK = 9
SIZE = 6

_insert = tables.jit(
    jax.vmap(lambda canvas, counts: leaps.insert_masks(canvas, counts, MASK))
)
_fit = tables.jit(jax.vmap(leaps.fit))


def _cases():
    """Every canvas length with every small count of masks that fits."""
    rng = np.random.default_rng(0)
    rows = []
    for length in range(SIZE + 1):
        for counts in itertools.product(range(3), repeat=length + 1):
            if length + sum(counts) <= SIZE:
                padded = np.zeros(SIZE + 1, np.int32)
                padded[: length + 1] = counts
                rows.append((length, padded))
    lengths, counts = (np.array(x, np.int32) for x in zip(*rows, strict=True))
    tokens = rng.integers(0, 5, (len(rows), SIZE)).astype(np.int32)
    return Canvas(tokens, lengths, rng.random(tokens.shape) < 0.5), counts


def test_masks_come_where_they_should():
    canvas, counts = _cases()
    made, source = jax.tree.map(np.asarray, _insert(canvas, counts))
    for row, length in enumerate(canvas.length):
        expected, flags, origin = [], [], []
        for gap in range(length + 1):
            expected += [MASK] * counts[row, gap]
            flags += [False] * counts[row, gap]
            origin += [-1] * counts[row, gap]
            if gap < length:
                expected.append(canvas.tokens[row, gap])
                flags.append(canvas.anchored[row, gap])
                origin.append(gap)
        size = len(expected)
        assert made.length[row] == size
        np.testing.assert_array_equal(made.tokens[row, :size], expected)
        np.testing.assert_array_equal(made.anchored[row, :size], flags)
        np.testing.assert_array_equal(source[row, :size], origin)
        assert not made.tokens[row, size:].any()
        assert not made.anchored[row, size:].any()
        assert (source[row, size:] == -1).all()


def test_a_canvas_without_anchors():
    canvas, counts = _cases()
    plain, _ = _insert(canvas._replace(anchored=None), counts)
    assert plain.anchored is None
    np.testing.assert_array_equal(plain.tokens, _insert(canvas, counts)[0].tokens)


def test_fit_keeps_what_comes_first():
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 4, (200, 7)).astype(np.int32)
    room = rng.integers(0, 15, 200).astype(np.int32)
    made = np.asarray(_fit(counts, room))
    assert (made.sum(axis=1) == np.minimum(counts.sum(axis=1), room)).all()
    for row in range(200):
        slots = np.repeat(np.arange(7), counts[row])[: room[row]]
        np.testing.assert_array_equal(made[row], np.bincount(slots, minlength=7))


def test_shapes_must_agree():
    with pytest.raises(AssertionError):
        leaps.insert_masks(Canvas(jnp.zeros(3, int), 1), jnp.zeros(3, int), MASK)
