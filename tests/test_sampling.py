"""When each token came, and cutting examples into batches."""

import jax
import numpy as np
import pytest
import tiny

from insertion_jax import sampling
from insertion_jax.types import Trace

SIZE = 7


def replayed(slots, num_anchored):
    """Step of each token, -1 for anchored ones, by inserting into a list."""
    steps = [-1] * num_anchored
    for step, slot in enumerate(slots):
        steps.insert(slot, step)
    return steps


def random_samples(num_rows, seed=0):
    """Traces at random with the steps that they should give."""
    rng = np.random.default_rng(seed)
    slot = np.full((num_rows, SIZE), -1, np.int32)
    anchored = np.zeros((num_rows, SIZE), bool)
    # Whatever lies behind the end of a sequence must not matter.
    tokens = rng.integers(0, 9, (num_rows, SIZE), np.int32)
    length, num_steps = np.zeros((2, num_rows), np.int32)
    expected = np.full((num_rows, SIZE), -1, np.int32)
    for row in range(num_rows):
        num_anchored = rng.integers(0, SIZE + 1)
        num_steps[row] = rng.integers(0, SIZE - num_anchored + 1)
        length[row] = num_anchored + num_steps[row]
        slots = [rng.integers(num_anchored + k + 1) for k in range(num_steps[row])]
        slot[row, : len(slots)] = slots
        steps = replayed(slots, num_anchored)
        expected[row, : length[row]] = steps
        anchored[row, : length[row]] = np.array(steps, int) == -1
    trace = Trace(slot, np.zeros_like(slot), num_steps, num_steps < 3)
    return sampling.Samples(tokens, length, trace, anchored), expected


def test_insertion_steps_are_those_of_a_replay():
    samples, expected = random_samples(200)
    np.testing.assert_array_equal(sampling.insertion_steps(samples), expected)


def test_insertion_steps_of_another_trace_differ():
    samples, expected = random_samples(200)
    rng = np.random.default_rng(1)
    slot = samples.trace.slot.copy()
    other = np.zeros(200, bool)
    for row, count in enumerate(samples.trace.num_steps):
        first = samples.length[row] - count
        # Other slots that leave the anchored tokens where they are cannot always be
        # had: these may not.
        slot[row, :count] = [rng.integers(first + k + 1) for k in range(count)]
        other[row] = (slot[row] != samples.trace.slot[row]).any()
    changed = samples._replace(trace=samples.trace._replace(slot=slot))
    found = sampling.insertion_steps(changed)
    differs = (found != expected).any(axis=1)
    np.testing.assert_array_equal(differs, other)
    assert other.sum() > 100


@pytest.mark.parametrize(("count", "size"), [(1, 1), (3, 3), (4, 4), (5, 4), (8, 4)])
def test_batches_have_one_size_and_cover_all_rows(count, size):
    rows = [tiny.example()._replace(index=np.int32(i)) for i in range(count)]
    examples = jax.tree.map(lambda *xs: np.stack(xs), *rows)
    key = jax.random.key(0)
    found = list(sampling.batches(examples, key, 4, False, "title"))
    assert len(found) == -(-count // 4)
    for batch, keys in found:
        assert batch.tokens.shape == (size, 6)
        assert keys.shape == (size,)
    index = np.concatenate([batch.index for batch, _ in found])
    keys = np.concatenate([jax.random.key_data(keys) for _, keys in found])
    np.testing.assert_array_equal(index[:count], np.arange(count))
    np.testing.assert_array_equal(index[count:], 0)
    # A row keeps its key whatever comes after it.
    all_keys = jax.random.key_data(jax.random.split(jax.random.key(0), 8))
    np.testing.assert_array_equal(keys[:count], all_keys[:count])
