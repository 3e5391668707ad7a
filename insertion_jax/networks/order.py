"""The posterior network: reads the complete sequence, scores its positions.

Its logits are those of a Plackett-Luce law over insertion orders: a token with a
larger logit tends to be inserted earlier. They start at zero, the uniform order, or at a
line that falls from left to right, a soft left-to-right order.
"""

import flax.linen as nn
import jax.numpy as jnp

from insertion_jax.networks.dense import Dense
from insertion_jax.networks.framed_canvas import ANCHORED, INSERTED, PROMPT
from insertion_jax.networks.transformer import (
    Counts,
    Embedding,
    Segment,
    TransformerConfig,
    Trunk,
)
from insertion_jax.types import Network


class OrderNetwork(nn.Module):
    """One logit for each position of the target."""

    config: TransformerConfig
    vocab_size: int
    initial_slope: float

    @nn.compact
    def __call__(self, example, deterministic):
        """Reads one example (a `Batch` without its leading axis) -> float32[L]."""
        c = self.config
        size, start = example.tokens.shape[0], example.prompt.shape[0]
        kinds = jnp.where(example.anchored, ANCHORED, INSERTED)
        row = jnp.arange(size)
        inside = row < example.length
        embed = Embedding(c, self.vocab_size, 3, name="embed")
        prompt = embed(example.prompt, jnp.full(start, PROMPT))
        target = embed(example.tokens, kinds)
        prompt = Segment(c, name="prompt_segment")(
            prompt, example.prompt_mask, example.prompt
        )
        target = Segment(c, name="target_segment")(target, inside)
        if c.counts:
            counts = Counts(c, name="target_counts")
            target += counts(example.tokens, example.prompt, example.prompt_mask)
        h, _ = Trunk(c, name="trunk")(
            jnp.concatenate([prompt, target]),
            jnp.concatenate([jnp.arange(start), example.prompt_mask.sum() + row]),
            jnp.concatenate([example.prompt_mask, inside]),
            deterministic=deterministic,
            start=start,
        )
        head = Dense(1, use_bias=False, kernel_init=nn.initializers.zeros, name="logit")
        logits = head(h.astype(jnp.float32))[:, 0]
        if self.initial_slope:
            slope = nn.initializers.constant(self.initial_slope)
            logits -= self.param("slope", slope, ()) * row
        return logits


def make(
    config: TransformerConfig, vocab_size: int, *, initial_slope: float = 0.0
) -> Network:
    """The posterior as pure functions.

    Args:
      config: of the trunk.
      vocab_size: V, specials included.
      initial_slope: s, by which logits fall from one position to the next at the
        start of training: far from the end the leftmost missing token then comes next
        with probability 1 - exp(-s). It is trained; 0 for the uniform order and no
        slope.

    Returns:
      `Network` whose `apply(params, example, dropout_key=None)` gives float32[L],
      logits of the order; those beyond the sequence's length mean nothing.
    """
    module = OrderNetwork(config, vocab_size, initial_slope)

    def init(key, example):
        return module.init(key, example, True)["params"]

    def apply(params, example, dropout_key=None):
        rngs = None if dropout_key is None else {"dropout": dropout_key}
        return module.apply({"params": params}, example, dropout_key is None, rngs=rngs)

    return Network(init, apply)
