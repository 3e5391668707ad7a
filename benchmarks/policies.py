"""The two kinds of policy network on equal terms, for the benchmarks."""

import jax
import jax.numpy as jnp
import numpy as np

from insertion_jax.networks import canvas, trajectory
from insertion_jax.networks.transformer import TransformerConfig
from insertion_jax.types import NUM_SPECIALS, Batch, TrajectoryPolicy

KINDS = {"trajectory": trajectory.make, "canvas": canvas.make}


def examples(batch_size: int, length: int, vocab_size: int, seed: int = 0) -> Batch:
    """Random sequences of full length, without a prompt."""
    rng = np.random.default_rng(seed)
    shape = (batch_size, length)
    return Batch(
        prompt=np.zeros((batch_size, 0), np.int32),
        prompt_mask=np.zeros((batch_size, 0), bool),
        tokens=rng.integers(NUM_SPECIALS, vocab_size, shape, np.int32),
        length=np.full(batch_size, length, np.int32),
        anchored=np.zeros(shape, bool),
        closed=np.zeros((batch_size, length + 1), bool),
        index=np.arange(batch_size, dtype=np.int32),
    )


def network(kind: str, config: TransformerConfig, vocab_size: int, batch: Batch):
    """`(params, policy_of)` with `policy_of(params, example)` a policy."""
    made = KINDS[kind](config, vocab_size)
    first = jax.tree.map(lambda x: x[0], batch)
    params = jax.jit(made.init)(jax.random.key(0), first)

    def policy_of(params, example):
        return made.apply(params, example.prompt, example.prompt_mask)

    return params, policy_of


def never_stopping(policy):
    """The policy that goes on until the canvas is full."""
    never = jnp.float32(-1e9)
    if not isinstance(policy, TrajectoryPolicy):
        return lambda seen: policy(seen)._replace(stop=never)

    def look(cache):
        slot, _, content = policy.look(cache)
        return slot, never, content

    return policy._replace(look=look)
