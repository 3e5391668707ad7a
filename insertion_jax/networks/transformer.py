"""A bidirectional Transformer trunk: pre-norm, rotary positions, SwiGLU.

The planning network of Zhang et al. (arXiv 2606.02133): no biases, layer norm
before each branch and at the end, rotary phases of base 10,000, hidden width four
times the width in both the gate and the value of SwiGLU. Dropout sits on the
attention's output, the MLP's hidden units and the MLP's output; not on the
attention scores, where it destabilises rows that are mostly padding.
"""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from insertion_jax.networks.attention import attend, rotate, scaled_scores
from insertion_jax.networks.dense import Dense, rows_dot
from insertion_jax.networks.dropout import Dropout
from insertion_jax.networks.norm import LayerNorm
from insertion_jax.types import InputError


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """Size and numerics of a trunk.

    Attributes:
      num_layers: blocks.
      num_heads: attention heads; must divide `width`.
      width: of the residual stream.
      mlp_ratio: hidden width of the MLP in units of `width`, rounded. With 8 / 3 a block
        has about as many weights as one whose MLP has two matrices of ratio 4.
      dropout: rate in [0, 1); acts where a dropout key is given.
      dtype: "float32" or "bfloat16", of activations and matrix products; parameters,
        norms' statistics, softmax and the heads' logits stay float32. "mixed": float32,
        but linear maps round their factors to bfloat16; for CPUs with units for that.
      remat: recompute each block in the backward pass to save memory.
      rope_base: base of the rotary frequencies.
      neighbours: adds a linear map of both neighbours to each token's embedding.
        A Transformer finds neighbours by itself, but late: this cuts the plateau
        before it does.
      prompt_record: 1 or more where a prompt is a list of records of that many tokens, as
        of edges of 2: each of its tokens is then told its whole record, by a linear map
        for each place in it, and not its neighbours, of which some belong to another
        record. One match of ids can then find what follows a node and what leads to
        it. 0: none.
      prompt_positions: adds a learned vector to each place of the prompt, which
        rotary phases, being relative, do not tell apart. Told records, a learned order
        is the surer without, a uniform one with (RESULTS.md, "Hard").
      counts: tells each token of the prompt, and the posterior's targets, how often its
        id stands in the prompt. Softmax attention averages over equal tokens, and learns
        to count them late if at all.
      embedding_scale: standard deviation of embeddings, and of the vectors learned for
        places and counts, at the start. The usual 0.02 is soon drowned by what the first
        block adds.
    """

    num_layers: int = 12
    num_heads: int = 8
    width: int = 128
    mlp_ratio: float = 4.0
    dropout: float = 0.1
    dtype: str = "float32"
    remat: bool = False
    rope_base: float = 10_000.0
    neighbours: bool = False
    prompt_record: int = 0
    prompt_positions: bool = False
    counts: bool = False
    embedding_scale: float = 0.02

    def __post_init__(self):
        if not self.embedding_scale > 0:
            raise InputError(
                f"embedding_scale is {self.embedding_scale}, but must be positive."
            )
        for name in ("num_layers", "num_heads", "width"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"{name} is {getattr(self, name)}, but must be at least 1."
                )
        if self.prompt_record < 0:
            raise InputError(
                f"prompt_record is {self.prompt_record}, but must be at least 0 (none)."
            )
        if not 1.0 <= self.mlp_ratio * self.width < math.inf:
            raise InputError(
                f"mlp_ratio is {self.mlp_ratio}; times width {self.width} it must be "
                "finite and at least 1."
            )
        if not 0.0 <= self.dropout < 1.0:
            raise InputError(f"dropout is {self.dropout}; it must lie in [0, 1).")
        if self.width % self.num_heads:
            raise InputError(
                f"width {self.width} is not a multiple of num_heads {self.num_heads}."
            )
        if (self.width // self.num_heads) % 2:
            raise InputError(
                f"rotary positions need an even head width, got {self.width} / "
                f"{self.num_heads}."
            )
        if self.dtype not in ("float32", "bfloat16", "mixed"):
            raise InputError(
                f"dtype must be 'float32', 'bfloat16' or 'mixed', got {self.dtype!r}."
            )

    @property
    def hidden_width(self) -> int:
        """Of the MLP."""
        return round(self.mlp_ratio * self.width)

    @property
    def activations(self) -> str:
        """Their dtype."""
        return "bfloat16" if self.dtype == "bfloat16" else "float32"

    def linear(self, features: int, **options) -> nn.Dense:
        """A linear map without bias, at this numerics."""
        factors = "bfloat16" if self.dtype == "mixed" else None
        return Dense(
            features, use_bias=False, dtype=self.activations, factors=factors, **options
        )


class Branches(nn.Module):
    """What blocks share: norms, the way out of attention, the MLP."""

    config: TransformerConfig

    def setup(self):
        c = self.config
        self.attention_norm = LayerNorm(c.activations)
        self.mlp_norm = LayerNorm(c.activations)
        self.out = c.linear(c.width)
        self.gate, self.value = c.linear(c.hidden_width), c.linear(c.hidden_width)
        self.down = c.linear(c.width)
        self.dropout = Dropout(c.dropout)

    def split(self, h, count):
        """float[T, count * width] -> count times float[heads, T, width / heads]."""
        c = self.config
        shape = (h.shape[0], c.num_heads, c.width // c.num_heads)
        return [x.reshape(shape).swapaxes(0, 1) for x in jnp.split(h, count, axis=-1)]

    def residuals(self, x, attended, deterministic):
        """Adds both branches to x; `attended` is float[heads, T, width / heads]."""
        h = self.out(attended.swapaxes(0, 1).reshape(x.shape))
        x = x + self.dropout(h, deterministic=deterministic)
        h = self.mlp_norm(x)
        h = nn.silu(self.gate(h)) * self.value(h)
        h = self.down(self.dropout(h, deterministic=deterministic))
        return x + self.dropout(h, deterministic=deterministic)


class Block(Branches):
    """Attention and MLP, each behind a layer norm."""

    def setup(self):
        super().setup()
        self.qkv = self.config.linear(3 * self.config.width)

    def __call__(self, x, positions, key_mask, context, deterministic, start=0):
        """Runs T tokens that see themselves and S tokens of context.

        Args:
          x: float[T, width].
          positions: int[T].
          key_mask: bool[S + T], which tokens may be seen.
          context: keys and values of the context, float[heads, S, width / heads]
            each, or None for S = 0.
          deterministic: no dropout.
          start: int, the first token whose new state is wanted.

        Returns:
          `(float[T - start, width], keys and values of the T tokens)`.
        """
        base = self.config.rope_base
        query, key, value = self.split(self.qkv(self.attention_norm(x)), 3)
        own = (rotate(key, positions, base), value)
        seen = own
        if context is not None:
            seen = tuple(
                jnp.concatenate(pair, axis=1) for pair in zip(context, own, strict=True)
            )
        query = rotate(query[:, start:], positions[start:], base)
        attended = attend(scaled_scores(query, seen[0]), key_mask, seen[1])
        return self.residuals(x[start:], attended, deterministic), own


class Trunk(nn.Module):
    """A stack of blocks and a final layer norm."""

    config: TransformerConfig

    @nn.compact
    def __call__(
        self, x, positions, mask, context=None, *, deterministic=True, start=0
    ):
        """Runs T tokens, optionally with the context of an earlier run.

        Args:
          x: float[T, width].
          positions: int[T].
          mask: bool[T], the real tokens.
          context: `(keys and values by layer, bool[S])` as an earlier call returned
            it, or None.
          deterministic: no dropout.
          start: int, the first token whose last state is wanted; to those before it the
            last block gives keys and values alone.

        Returns:
          `(float[T - start, width], context)` with the keys and values of all T tokens.
        """
        block = nn.remat(Block, static_argnums=(5, 6)) if self.config.remat else Block
        layers = [None] * self.config.num_layers
        key_mask = mask
        if context is not None:
            layers, context_mask = context
            key_mask = jnp.concatenate([context_mask, mask])
        own = []
        for number, layer in enumerate(layers):
            run = block(self.config, name=f"block_{number}")
            first = start if number == len(layers) - 1 else 0
            x, keys_and_values = run(
                x, positions, key_mask, layer, deterministic, first
            )
            own.append(keys_and_values)
        x = LayerNorm(self.config.activations, name="norm")(x)
        return x, (own, mask)


class Embedding(nn.Module):
    """Embeds tokens by their id and by the kind of place they stand in."""

    config: TransformerConfig
    vocab_size: int
    num_kinds: int

    def setup(self):
        c = self.config
        init = nn.initializers.normal(c.embedding_scale)
        self.token = nn.Embed(
            self.vocab_size, c.width, embedding_init=init, dtype=c.activations
        )
        self.kind = nn.Embed(
            self.num_kinds, c.width, embedding_init=init, dtype=c.activations
        )

    def __call__(self, tokens, kinds):
        """int[T], int[T] -> float[T, width]; ids out of range are clipped."""
        tokens = jnp.clip(tokens, 0, self.vocab_size - 1)
        return self.token(tokens) + self.kind(kinds)


_MAX_COUNT = 16


class Counts(nn.Module):
    """A learned vector for how often each token's id stands in the prompt."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, tokens, prompt, prompt_mask):
        """int[T], int[C], bool[C] -> float[T, width]; counts of 16 and more are one."""
        same = (tokens[:, None] == prompt) & prompt_mask
        count = jnp.minimum(same.sum(axis=1), _MAX_COUNT)
        init = nn.initializers.normal(self.config.embedding_scale)
        size = (_MAX_COUNT + 1, self.config.width)
        vectors = self.param("vector", init, size)
        # A product, for the gradient of a lookup is a slow scatter.
        looked_up = rows_dot(
            jax.nn.one_hot(count, size[0], dtype=vectors.dtype), vectors
        )
        return looked_up.astype(self.config.activations)


class Segment(nn.Module):
    """What a stretch of tokens adds to its embedding before the first block."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x, mask, prompt=None):
        """Adds what the config has: neighbours; to a prompt records, places, counts.

        Args:
          x: float[T, width].
          mask: bool[T], the real tokens; others are nobody's neighbour, and no part of
            a record.
          prompt: int[T], the tokens, if they are the prompt; None for a target.

        Returns:
          float[T, width].
        """
        c = self.config
        added = x
        real = jnp.where(mask[:, None], x, 0)
        if c.prompt_record and prompt is not None:
            size = c.prompt_record
            padded = jnp.pad(real, ((0, -len(x) % size), (0, 0)))
            records = padded.reshape(len(padded) // size, size * c.width)
            told = c.linear(size * c.width, name="record")(records)
            added += told.reshape(padded.shape)[: len(x)]
        elif c.neighbours:
            padded = jnp.pad(real, ((1, 1), (0, 0)))
            both = jnp.concatenate([padded[:-2], padded[2:]], axis=-1)
            added += c.linear(c.width, name="neighbours")(both)
        if c.prompt_positions and prompt is not None:
            init = nn.initializers.normal(c.embedding_scale)
            added += self.param("position", init, x.shape).astype(x.dtype)
        if c.counts and prompt is not None:
            added += Counts(c, name="counts")(prompt, prompt, mask)
        return added
