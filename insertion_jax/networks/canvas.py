"""A policy network that re-encodes the canvas at every step.

The canvas is framed by BOS and EOS and follows the prompt. Slot k lies between row
k and row k + 1 of the framed canvas and is read from both; stopping is read from
the closing EOS. The paper leaves its read-out open.
"""

import flax.linen as nn
import jax.numpy as jnp

from insertion_jax.networks import framed_canvas
from insertion_jax.networks.dense import Dense
from insertion_jax.networks.transformer import TransformerConfig
from insertion_jax.types import (
    EOS_ID,
    NUM_SPECIALS,
    Canvas,
    InsertionLogits,
    Network,
)

# Specials are never content; finite, so that bfloat16 and gradients stay clean.
NEVER = -1e9


class CanvasNetwork(framed_canvas.FramedCanvas):
    """Logits of every action on one canvas.

    Attributes:
      emits_eos: EOS is content.
    """

    emits_eos: bool

    def setup(self):
        super().setup()
        c = self.config
        self.slot_state = c.linear(c.width)
        self.location = Dense(1, use_bias=False)
        self.stop = Dense(1, use_bias=False)
        self.content = Dense(self.num_ids, use_bias=False)

    def __call__(self, encoded, canvas, deterministic):
        """Reads one canvas.

        Args:
          encoded: from `encode`.
          canvas: `Canvas` of L entries.
          deterministic: no dropout.

        Returns:
          `InsertionLogits`, float32.
        """
        h = self.read(encoded, canvas, deterministic)
        between = jnp.concatenate([h[:-1], h[1:]], axis=-1)
        slot_state = nn.silu(self.slot_state(between)).astype(jnp.float32)
        token = self.content(slot_state)
        ids = jnp.arange(self.num_ids)
        allowed = ids >= NUM_SPECIALS
        if self.emits_eos:
            allowed |= ids == EOS_ID
        return InsertionLogits(
            slot=self.location(slot_state)[:, 0],
            stop=self.stop(h[canvas.length + 1].astype(jnp.float32))[0],
            token=jnp.where(allowed, token, NEVER),
        )


def make(
    config: TransformerConfig,
    vocab_size: int,
    *,
    emits_eos: bool = False,
    prompt_sees_canvas: bool = False,
) -> Network:
    """A canvas policy as pure functions.

    Args:
      config: of the trunk.
      vocab_size: V, specials included.
      emits_eos: EOS is content (EOS termination); otherwise the stop logit counts.
      prompt_sees_canvas: attention runs from the prompt to the canvas too, so the
        prompt is encoded anew for every canvas; if not, once for all canvases.

    Returns:
      `Network` whose `apply(params, prompt[C], prompt_mask[C], dropout_key=None)` is
      a policy `(Canvas, key=None) -> InsertionLogits`. Without a dropout key there
      is no dropout; `key` replaces it for one canvas.
    """
    module = CanvasNetwork(config, vocab_size, prompt_sees_canvas, emits_eos)

    def init(key, example):
        def run(module):
            encoded = module.encode(example.prompt, example.prompt_mask, True)
            canvas = Canvas(example.tokens, example.length, example.anchored)
            return module(encoded, canvas, True)

        return nn.init(run, module)(key)["params"]

    def apply(params, prompt, prompt_mask, dropout_key=None):
        prompt_key, canvas_key = framed_canvas.split(dropout_key)
        read = framed_canvas.reader(module, params, prompt, prompt_mask, prompt_key)

        def policy(canvas, key=None):
            return read("__call__", canvas_key if key is None else key, canvas)

        return policy

    return Network(init, apply)
