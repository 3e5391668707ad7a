"""Whatever samples: tokens that stand on the canvas stay, and closed gaps stay empty."""

import jax
import numpy as np
import pytest
import shipped
import tiny

from insertion_jax import build
from insertion_jax.types import EOS_ID, NUM_SPECIALS, Batch

pytestmark = pytest.mark.usefixtures("compile_fast")

SIZE, NUM_ROWS, VOCAB = 9, 48, 12

SAMPLERS = {
    "insertion process": ("", {}),
    "ends by eos": ("", {"method__termination": "eos"}),
    "trajectory network": ("network=trajectory", {}),
    "flexmdm": ("method=flexmdm", {}),
    "by confidence": ("method=flexmdm", {"method__confidence": "top_prob"}),
    "loflexmdm": ("method=loflexmdm", {}),
}


def problems(seed=0):
    """Random canvases: any tokens, any of them anchored, any gap closed."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(NUM_SPECIALS, VOCAB, (NUM_ROWS, SIZE)).astype(np.int32)
    # Whatever lies beyond the end is none of the sampler's business.
    length = rng.integers(0, SIZE + 1, NUM_ROWS).astype(np.int32)
    anchored = rng.random((NUM_ROWS, SIZE)) < rng.random((NUM_ROWS, 1))
    anchored &= np.arange(SIZE) < length[:, None]
    return Batch(
        prompt=np.zeros((NUM_ROWS, 0), np.int32),
        prompt_mask=np.zeros((NUM_ROWS, 0), bool),
        tokens=tokens,
        length=length,
        anchored=anchored,
        closed=rng.random((NUM_ROWS, SIZE + 1)) < 0.4,
        index=np.arange(NUM_ROWS, dtype=np.int32),
    )


def complaints(examples, canvas):
    """What is wrong with each row of samples, none if nothing is."""
    found = []
    for row in range(NUM_ROWS):
        wanted = examples.tokens[row][examples.anchored[row]].tolist()
        size = int(canvas.length[row])
        # As an end EOS is in no gap.
        size -= size > 0 and canvas.tokens[row, size - 1] == EOS_ID
        tokens, flags = canvas.tokens[row, :size], canvas.anchored[row, :size]
        if tokens[flags].tolist() != wanted:
            found.append((row, "anchors"))
        # Gap g lies before the anchored token number g.
        gaps = np.cumsum(flags)[~flags]
        if examples.closed[row][gaps].any():
            found.append((row, "closed"))
        if (tokens < NUM_SPECIALS).any():
            found.append((row, "special"))
    return found


def sampled(argument, changes, examples):
    config = shipped.mazes(f"size=smoke,{argument}", **changes)
    task = build.task(config)._replace(
        vocabulary=tuple(map(str, range(VOCAB))), prompt_length=0, max_length=SIZE
    )
    method = build.method(config, task)
    params = tiny.random_params(method.init, jax.tree.map(lambda x: x[0], examples))
    keys = jax.random.split(jax.random.key(0), NUM_ROWS)
    sample = jax.jit(jax.vmap(method.sample, in_axes=(None, 0, 0)))
    canvas, _ = sample(params, examples, keys)
    return jax.tree.map(np.asarray, canvas)


@pytest.mark.parametrize("name", SAMPLERS)
def test_anchors_stay_and_closed_gaps_stay_empty(name):
    examples = problems()
    canvas = sampled(*SAMPLERS[name], examples)
    assert complaints(examples, canvas) == []
    # There was something to do, and the same check finds what is wrong.
    assert (canvas.length > examples.anchored.sum(axis=1)).sum() > NUM_ROWS / 3
    wrong = {kind for _, kind in complaints(problems(seed=1), canvas)}
    assert {"anchors", "closed"} <= wrong
