"""Small networks and examples for tests."""

import math

import jax
import numpy as np

from insertion_jax.networks.transformer import TransformerConfig
from insertion_jax.types import Batch

VOCAB = 9


def config(**changes):
    """A trunk of two narrow layers."""
    options = {"num_layers": 2, "num_heads": 2, "width": 16, "dropout": 0.0}
    return TransformerConfig(**(options | changes))


def everything(records=False, **changes):
    """With every option of the trunk but counts; prompts told records or neighbours.

    The example's prompt of three tokens then ends in the middle of a record.
    """
    options = {"neighbours": True, "prompt_positions": True}
    return config(**(options | {"prompt_record": 2 if records else 0} | changes))


def resized(params, example):
    """Parameters for the prompt length of the example; new places hold garbage."""
    if "position" not in params.get("prompt_segment", {}):
        return params
    position = params["prompt_segment"]["position"]
    size = example.prompt.shape[0]
    garbage = np.full((size, position.shape[1]), 7.0, np.float32)
    rows = np.arange(size)[:, None] < position.shape[0]
    padded = np.resize(position, garbage.shape) if size else garbage
    segment = params["prompt_segment"] | {"position": np.where(rows, padded, garbage)}
    return params | {"prompt_segment": segment}


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


def random_params(init, *args, seed=0):
    """Normal numbers in place of `init(key, *args)`, which takes long to compile."""
    rng = np.random.default_rng(seed)

    def draw(leaf):
        scale = 1.0 / math.sqrt(leaf.shape[0]) if len(leaf.shape) > 1 else 1.0
        return (scale * rng.normal(size=leaf.shape)).astype(leaf.dtype)

    return jax.tree.map(draw, jax.eval_shape(init, jax.random.key(0), *args))
