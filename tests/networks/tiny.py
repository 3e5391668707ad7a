"""Small networks and examples for tests."""

import numpy as np

from insertion_jax.networks.transformer import TransformerConfig
from insertion_jax.types import Batch

VOCAB = 9


def config(**changes):
    """A trunk of two narrow layers."""
    options = {"num_layers": 2, "num_heads": 2, "width": 16, "dropout": 0.0}
    return TransformerConfig(**(options | changes))


def example(prompt_size=4, size=6, garbage=0):
    """Three prompt tokens, four target tokens of which one is anchored."""
    prompt = np.full(prompt_size, garbage, np.int32)
    prompt[:3] = [5, 3, 8]
    tokens = np.full(size, garbage, np.int32)
    tokens[:4] = [4, 4, 7, 3]
    anchored = np.zeros(size, bool)
    anchored[2] = True
    return Batch(
        prompt=prompt,
        prompt_mask=np.arange(prompt_size) < 3,
        tokens=tokens,
        length=np.int32(4),
        anchored=anchored,
        closed=np.zeros(size + 1, bool),
        index=np.int32(0),
    )
