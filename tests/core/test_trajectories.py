import functools
import itertools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables

from insertion_jax.core import trajectories
from insertion_jax.types import Canvas


def _all_orders(size):
    return np.array(list(itertools.permutations(range(size))), np.int32)


@pytest.mark.parametrize("size", range(1, 7))
def test_slots_and_orders_are_in_bijection(size):
    perms = _all_orders(size)
    slots = jax.vmap(trajectories.slots_from_permutation)(jnp.asarray(perms))
    back = jax.vmap(trajectories.permutation_from_slots)(slots)
    assert slots.dtype == back.dtype == jnp.int32
    np.testing.assert_array_equal(back, perms)
    # Onto: exactly the sequences with 0 <= slots[t] <= t.
    legal = set(itertools.product(*(range(t + 1) for t in range(size))))
    assert set(map(tuple, np.asarray(slots).tolist())) == legal


def test_example_of_the_paper():
    perm, slots = np.array([3, 1, 2]) - 1, np.array([1, 1, 2]) - 1
    np.testing.assert_array_equal(
        trajectories.slots_from_permutation(jnp.asarray(perm)), slots
    )
    np.testing.assert_array_equal(
        trajectories.permutation_from_slots(jnp.asarray(slots)), perm
    )


@pytest.mark.parametrize("size", range(1, 6))
def test_slot_of_agrees_with_slots_along_every_order(size):
    def along(perm):
        steps = jnp.arange(size)
        masks = jax.vmap(trajectories.prefix_mask, in_axes=(None, 0))(perm, steps)
        return jax.vmap(trajectories.slot_of)(masks)[steps, perm]

    perms = jnp.asarray(_all_orders(size))
    np.testing.assert_array_equal(
        jax.vmap(along)(perms), jax.vmap(trajectories.slots_from_permutation)(perms)
    )


def test_prefix_mask_holds_the_first_picks():
    perm = jnp.asarray([2, 0, 3, 1])
    for count in range(5):
        mask = np.asarray(trajectories.prefix_mask(perm, count))
        assert set(np.flatnonzero(mask)) == set(perm[:count].tolist())


@tables.jit
@functools.partial(jax.vmap, in_axes=(0, None, None, None))
def _replay(perm, tokens, required, flags):
    """Canvases made by `insert` and by `canvas_of`, step by step."""
    made, expected = [], []
    canvas = trajectories.canvas_of(tokens, required, anchored=flags)
    for step in range(6):
        included = trajectories.prefix_mask(perm, step) | required
        expected.append(trajectories.canvas_of(tokens, included, anchored=flags))
        made.append(canvas)
        if step < 5:
            position = perm[step]
            slot = trajectories.slot_of(included)[position]
            canvas = trajectories.insert(canvas, slot, tokens[position])
    return made, expected


ANCHORED = [None, (False,) * 5, (False, True, False, False, True), (True,) * 5]


@pytest.mark.parametrize("anchored", ANCHORED)
@pytest.mark.parametrize("length", [0, 1, 3, 5])
def test_replaying_an_order_gives_canvas_of_at_every_step(anchored, length):
    tokens = np.array([7, 4, 4, 9, 5], np.int32)
    inside = np.arange(5) < length
    flags = None if anchored is None else np.array(anchored) & inside
    required = np.zeros(5, bool) if flags is None else flags
    missing = inside & ~required
    count = missing.sum()

    perms = tables.orders(missing)
    repeats = np.resize(np.arange(len(perms)), 120)  # one shape, one compilation
    made, expected = _replay(perms[repeats], jnp.asarray(tokens), required, flags)
    for step in range(count + 1):
        jax.tree.map(np.testing.assert_array_equal, made[step], expected[step])
    made = jax.tree.map(np.asarray, made)
    # And canvas_of itself against plain Python.
    for row, perm in enumerate(perms):
        for step in range(count + 1):
            keep = required.copy()
            keep[perm[:step]] = True
            canvas = jax.tree.map(operator.itemgetter(row), made[step])
            size = keep.sum()
            assert canvas.length == size
            np.testing.assert_array_equal(canvas.tokens[:size], tokens[keep])
            assert not canvas.tokens[size:].any()
            if flags is not None:
                np.testing.assert_array_equal(canvas.anchored[:size], flags[keep])
                assert not canvas.anchored[size:].any()


@pytest.mark.parametrize("flags", [None, (True, False, False, True)])
def test_insert_matches_list_insertion(flags):
    tokens = jnp.asarray([5, 6, 7, 0])
    anchored = None if flags is None else jnp.asarray([True, False, True, False])
    for slot in range(4):
        canvas = trajectories.insert(Canvas(tokens, 3, anchored), slot, 9)
        expected = [5, 6, 7]
        expected.insert(slot, 9)
        assert canvas.tokens.tolist() == expected
        assert canvas.length == 4
        if flags is not None:
            expected = [True, False, True]
            expected.insert(slot, False)
            assert canvas.anchored.tolist() == expected


@pytest.mark.parametrize("slot", range(5))
def test_a_full_canvas_is_unchanged(slot):
    canvas = Canvas(
        jnp.asarray([5, 6, 7, 8]),
        jnp.int32(4),
        jnp.asarray([True, False, True, False]),
    )
    jax.tree.map(
        np.testing.assert_array_equal, trajectories.insert(canvas, slot, 9), canvas
    )
    bare = canvas._replace(anchored=None)
    assert trajectories.insert(bare, slot, 9).tokens.tolist() == [5, 6, 7, 8]
    assert trajectories.insert(bare, slot, 9).anchored is None


def test_canvas_of_fills_with_the_pad_id():
    canvas = trajectories.canvas_of(
        jnp.asarray([5, 6, 7]), jnp.asarray([False, True, False]), pad_id=8
    )
    assert canvas.tokens.tolist() == [6, 8, 8]


def test_open_slots_are_those_of_open_gaps():
    size = 4
    booleans = lambda n: list(itertools.product([False, True], repeat=n))
    rows = [
        (flags, length, closed)
        for length in range(size + 1)
        for flags in booleans(length)
        for closed in booleans(sum(flags) + 1)
    ]
    # Entries past the end must not matter: all true.
    flags = np.array([(*f, *([True] * (size - n))) for f, n, _ in rows])
    lengths = np.array([n for _, n, _ in rows])
    closed = np.array([(*c, *([False] * (size + 1 - len(c)))) for _, _, c in rows])
    made = jax.vmap(
        lambda flags, length, closed: trajectories.open_slots(
            Canvas(jnp.zeros(size, int), length, flags), closed
        )
    )(flags, lengths, closed)
    for row, (flags, length, closed) in enumerate(rows):
        gaps = [sum(flags[:slot]) for slot in range(length + 1)]
        expected = [not closed[gap] for gap in gaps] + [False] * (size - length)
        assert np.asarray(made[row]).tolist() == expected


def test_number_of_open_slots_is_open_gaps_plus_insertions():
    # Along every legal trajectory: insertions go into open gaps only.
    anchors, closed = 2, (True, False, True, False, False, False, False, False)
    open_gaps = sum(not c for c in closed[: anchors + 1])
    size = 7
    start = Canvas(
        jnp.asarray([5, 6, 0, 0, 0, 0, 0]),
        jnp.int32(2),
        jnp.asarray([True, True] + [False] * 5),
    )
    rng = np.random.default_rng(0)
    open_slots, insert = map(tables.jit, (trajectories.open_slots, trajectories.insert))
    for _ in range(5):
        canvas = start
        for inserted in range(size - anchors + 1):
            slots = np.flatnonzero(open_slots(canvas, jnp.asarray(closed)))
            assert len(slots) == open_gaps + inserted
            canvas = insert(canvas, rng.choice(slots), 9)


def test_without_anchors_there_is_one_gap():
    canvas = Canvas(jnp.asarray([5, 6, 0]), 2)
    assert trajectories.open_slots(canvas).tolist() == [True, True, True, False]
    closed = jnp.asarray([True, False, False, False])
    assert not trajectories.open_slots(canvas, closed).any()
    assert trajectories.open_slots(canvas, ~closed).tolist() == [
        True,
        True,
        True,
        False,
    ]
