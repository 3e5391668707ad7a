"""The body of networks that read a canvas after its prompt.

The canvas is framed by BOS and EOS. Row 0 is BOS, row k + 1 the canvas' token k and
row n + 1, for n tokens, EOS; what follows is padding.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from insertion_jax.networks.transformer import (
    Embedding,
    Segment,
    TransformerConfig,
    Trunk,
)
from insertion_jax.types import BOS_ID, EOS_ID, Canvas

PROMPT, INSERTED, ANCHORED = range(3)


class FramedCanvas(nn.Module):
    """Encodes prompts, and reads canvases after them. To be given heads.

    Attributes:
      config: of the trunk.
      num_ids: token ids that the canvas may hold.
      prompt_sees_canvas: attention runs from the prompt to the canvas too, so the
        prompt is encoded anew for every canvas; if not, once for all canvases.
    """

    config: TransformerConfig
    num_ids: int
    prompt_sees_canvas: bool

    def setup(self):
        c = self.config
        self.embed = Embedding(c, self.num_ids, 3)
        self.prompt_segment = Segment(c)
        self.canvas_segment = Segment(c)
        self.trunk = Trunk(c)

    def encode(self, prompt: jax.Array, prompt_mask: jax.Array, deterministic: bool):
        """What all canvases of one prompt share.

        Args:
          prompt: int[C].
          prompt_mask: bool[C].
          deterministic: no dropout.

        Returns:
          A pytree for `read`: the embedded prompt, or its keys and values.
        """
        x = self.embed(prompt, jnp.full(prompt.shape, PROMPT))
        x = self.prompt_segment(x, prompt_mask, prompt)
        if self.prompt_sees_canvas or not prompt.shape[0]:
            return x, prompt_mask
        positions = jnp.arange(prompt.shape[0])
        _, context = self.trunk(x, positions, prompt_mask, deterministic=deterministic)
        return context

    def read(
        self,
        encoded,
        canvas: Canvas,
        deterministic: bool,
        added: jax.Array | None = None,
    ) -> jax.Array:
        """Reads one canvas.

        Args:
          encoded: from `encode`.
          canvas: of L entries.
          deterministic: no dropout.
          added: float[width], added to each row of the canvas before the first block.

        Returns:
          float[L + 2, width], the last states of the framed canvas.
        """
        row = jnp.arange(canvas.tokens.shape[0] + 2)
        last = canvas.length + 1
        tokens = jnp.pad(canvas.tokens, 1)
        tokens = jnp.where(row == 0, BOS_ID, jnp.where(row == last, EOS_ID, tokens))
        kinds = jnp.full(row.shape, INSERTED)
        if canvas.anchored is not None:
            kinds = jnp.where(jnp.pad(canvas.anchored, 1), ANCHORED, INSERTED)
        prompt, prompt_mask = encoded
        mask = row <= last
        x = self.canvas_segment(self.embed(tokens, kinds), mask)
        if added is not None:
            x += added.astype(x.dtype)
        positions = prompt_mask.sum() + row
        if not self.prompt_sees_canvas and prompt_mask.shape[0]:
            h, _ = self.trunk(x, positions, mask, encoded, deterministic=deterministic)
            return h
        start = prompt_mask.shape[0]
        h, _ = self.trunk(
            jnp.concatenate([prompt, x]),
            jnp.concatenate([jnp.arange(start), positions]),
            jnp.concatenate([prompt_mask, mask]),
            deterministic=deterministic,
            start=start,
        )
        return h


def reader(module: FramedCanvas, params, prompt, prompt_mask, key):
    """Encodes a prompt for reading canvases after it.

    Args:
      module: a `FramedCanvas` with heads.
      params: its parameters.
      prompt: int[C].
      prompt_mask: bool[C].
      key: of dropout in the prompt; None for no dropout, in the canvases neither.

    Returns:
      `read(method, key, *args)`, which calls that method of the module with the encoded
      prompt, `args` and whether it is deterministic; `key` is that of its dropout.
    """
    deterministic = key is None
    variables = {"params": params}

    def read(method, key, *args):
        rngs = None if key is None else {"dropout": key}
        return module.apply(variables, *args, deterministic, method=method, rngs=rngs)

    encoded = read("encode", key, prompt, prompt_mask)
    return lambda method, key, *args: read(method, key, encoded, *args)


def split(dropout_key):
    """Two keys from one, or twice None."""
    return (None, None) if dropout_key is None else jax.random.split(dropout_key)
