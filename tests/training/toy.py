"""A method small enough to train a thousand times, for the tests of training.

Its loss depends on the example's own noise and on its length, so that a mistake in the
keys, the order of the data or the reduction shows in the numbers.
"""

import jax
import jax.numpy as jnp
import numpy as np

from insertion_jax import types

VOCABULARY = 8
LENGTH = 6
WIDTH = 16


def examples(num_examples: int = 64, seed: int = 0) -> types.Batch:
    """Returns sequences of 1 to LENGTH random tokens."""
    rng = np.random.RandomState(seed)
    length = rng.randint(1, LENGTH + 1, num_examples).astype(np.int32)
    tokens = rng.randint(3, VOCABULARY, (num_examples, LENGTH)).astype(np.int32)
    tokens = np.where(np.arange(LENGTH) < length[:, None], tokens, types.PAD_ID)
    return types.Batch(
        prompt=np.zeros((num_examples, 1), np.int32),
        prompt_mask=np.zeros((num_examples, 1), bool),
        tokens=tokens,
        length=length,
        anchored=np.zeros((num_examples, LENGTH), bool),
        closed=np.zeros((num_examples, LENGTH + 1), bool),
        index=np.arange(num_examples, dtype=np.int32),
    )


def make(nan_after: int | None = None) -> types.Method:
    """Returns the method; its loss is NaN from step `nan_after` on."""

    def init(key, example):
        del example
        key_in, key_mix, key_out = jax.random.split(key, 3)
        return {
            "policy": {
                "embed": jax.random.normal(key_in, (VOCABULARY, WIDTH)),
                "mix": {"kernel": jax.random.normal(key_mix, (WIDTH, WIDTH)) / 4},
                "out": jax.random.normal(key_out, (WIDTH, VOCABULARY)) / 4,
            },
            "order": {"scale": jnp.ones((LENGTH,))},
        }

    def loss(params, example, key, step):
        hidden = params["policy"]["embed"][example.tokens]
        # One draw does for dropout and noise: random bits are slow to compile.
        noise = jax.random.uniform(key, hidden.shape)
        hidden = jnp.tanh(jnp.where(noise < 0.8, hidden, 0.0))
        size = len(example.tokens)
        hidden += 0.5 * noise * params["order"]["scale"][:size, None]
        hidden += jnp.tanh(hidden @ params["policy"]["mix"]["kernel"])
        log_probs = jax.nn.log_softmax(hidden @ params["policy"]["out"])
        target = jnp.roll(example.tokens, -1)
        log_prob = jnp.take_along_axis(log_probs, target[:, None], axis=1)[:, 0]
        inside = jnp.arange(size) < example.length
        elbo = jnp.sum(jnp.where(inside, log_prob, 0.0))
        value = -elbo
        if nan_after is not None:
            value = jnp.where(step >= nan_after, jnp.nan, value)
        return value, {"elbo": elbo, "length": example.length}

    def unused(*args, **kwargs):
        raise NotImplementedError

    return types.Method(init=init, loss=loss, bound=unused, sample=unused)
