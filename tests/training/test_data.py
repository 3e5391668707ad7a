import time

import jax
import numpy as np
import pytest
import toy

from insertion_jax.training import buckets, data


def test_an_epoch_is_a_permutation():
    rows = np.concatenate([data.rows_at(0, step, 4, 22) for step in range(5)])
    assert rows.dtype == np.int64
    assert len(set(rows.tolist())) == 20
    again = np.concatenate([data.rows_at(0, step, 4, 22) for step in range(5, 10)])
    assert len(set(again.tolist())) == 20
    assert rows.tolist() != again.tolist()


def test_order_depends_on_seed_and_step_alone():
    late = data.rows_at(1, 1000, 8, 50)
    assert data.rows_at(1, 1000, 8, 50).tolist() == late.tolist()
    assert data.rows_at(2, 1000, 8, 50).tolist() != late.tolist()
    # Seeds beyond 32 bits are not cut off.
    assert data.rows_at(1 + 2**32, 1000, 8, 50).tolist() != late.tolist()


def test_order_is_the_same_on_every_version_of_numpy():
    assert data.rows_at(0, 0, 5, 10).tolist() == [8, 2, 4, 3, 6]
    assert data.rows_at(7, 3, 5, 10).tolist() == [5, 7, 8, 0, 9]


def test_too_few_examples():
    with pytest.raises(ValueError, match="has 3 examples, fewer than the 4"):
        data.rows_at(0, 0, 4, 3)
    with pytest.raises(ValueError, match="has 64 examples, fewer than the 65"):
        data.Chunks(
            toy.examples(64), seed=0, start_step=0, end_step=2, chunk=1, batch_size=65
        )


def _chunks(start_step, end_step, chunk):
    with_thread = data.Chunks(
        toy.examples(),
        seed=3,
        start_step=start_step,
        end_step=end_step,
        chunk=chunk,
        batch_size=8,
    )
    return list(with_thread)


def test_chunks_hold_the_rows_of_their_steps():
    examples = toy.examples()
    chunks = _chunks(4, 12, 4)
    assert len(chunks) == 2
    assert chunks[0].tokens.shape == (4, 8, toy.LENGTH)
    for step in range(4, 12):
        number, inside = divmod(step - 4, 4)
        got = jax.tree.map(lambda x: x[inside], chunks[number])  # noqa: B023
        rows = data.rows_at(3, step, 8, 64)
        np.testing.assert_array_equal(got.tokens, examples.tokens[rows])
        np.testing.assert_array_equal(got.length, examples.length[rows])
        np.testing.assert_array_equal(got.index, np.arange(8))
        assert got.index.dtype == np.int32


def test_resuming_needs_no_replay():
    whole, rest = _chunks(0, 12, 2), _chunks(6, 12, 2)
    for a, b in zip(whole[3:], rest, strict=True):
        jax.tree.map(np.testing.assert_array_equal, a, b)


def test_processes_share_the_batch():
    kwargs = {"seed": 3, "start_step": 5, "chunk": 2, "batch_size": 8}
    whole = data.make_chunk(toy.examples(), **kwargs)
    parts = [
        data.make_chunk(toy.examples(), process_index=i, process_count=2, **kwargs)
        for i in range(2)
    ]
    joined = jax.tree.map(lambda *xs: np.concatenate(xs, axis=1), *parts)
    jax.tree.map(np.testing.assert_array_equal, joined, whole)


def test_chunks_of_like_lengths():
    examples = toy.examples()
    of_length = buckets.make(examples.length, 0.1, 4)
    options = {"seed": 3, "batch_size": 8, "of_length": of_length}

    def steps(chunk, **more):
        """The batches of the first 40 steps."""
        for start in range(0, 40, chunk):
            made = data.make_chunk(
                examples, start_step=start, chunk=chunk, **options, **more
            )
            for i in range(chunk):
                yield jax.tree.map(lambda x, i=i: x[i], made)

    seen = set()
    for step, batch in enumerate(steps(4)):
        rows, width = buckets.rows_at(of_length, 3, step, 8)
        np.testing.assert_array_equal(batch.tokens, examples.tokens[rows, :width])
        np.testing.assert_array_equal(batch.length, examples.length[rows])
        assert batch.closed.shape == (8, width + 1)
        assert (examples.tokens[rows, width:] == 0).all()
        seen.add(width)
    assert seen == set(of_length.widths)
    # The data do not depend on the chunk, nor on who reads them.
    for a, b in zip(steps(4), steps(2), strict=True):
        jax.tree.map(np.testing.assert_array_equal, a, b)
    parts = [steps(4, process_index=i, process_count=2) for i in range(2)]
    for whole, *halves in zip(steps(4), *parts, strict=True):
        joined = jax.tree.map(lambda *xs: np.concatenate(xs), *halves)
        jax.tree.map(np.testing.assert_array_equal, joined, whole)


def test_waiting_is_counted(monkeypatch):
    original = data.make_chunk

    def slow(*args, **kwargs):
        time.sleep(0.05)
        return original(*args, **kwargs)

    monkeypatch.setattr(data, "make_chunk", slow)
    chunks = data.Chunks(
        toy.examples(), seed=0, start_step=0, end_step=2, chunk=1, batch_size=8
    )
    next(chunks)
    assert chunks.seconds_waited > 0.02
    waited = chunks.seconds_waited
    time.sleep(0.2)  # The next chunk is made meanwhile.
    next(chunks)
    assert chunks.seconds_waited - waited < 0.02
    with pytest.raises(StopIteration):
        next(chunks)
