"""A policy network that computes each token once, when it is inserted.

Rows are BOS, the L positions of the target and EOS. Each row is born at a step: the
frame and the anchored tokens at step 0, the token inserted by step t (counted from 1)
at t. A row sees the prompt and the rows born before it or with it, at the places they
have on the canvas of its birth (`networks.relative`). So one pass over a permutation
computes what a sampler with a cache computes token by token.

The slot between rows a and b of the canvas is read, at step i, from three states:

    s = silu(P h_i + Q h_a + R h_b),   h_i: the row born last (BOS at step 0)

its location logit and its token logits are linear in s; stopping is linear in h_i.
Each row knows the canvas of its birth alone, so that h_i is what is up to date.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from insertion_jax.core import permutations, trajectories
from insertion_jax.networks import relative
from insertion_jax.networks.canvas import NEVER
from insertion_jax.networks.dense import Dense
from insertion_jax.networks.framed_canvas import ANCHORED, INSERTED, PROMPT
from insertion_jax.networks.norm import LayerNorm
from insertion_jax.networks.transformer import (
    Embedding,
    Segment,
    TransformerConfig,
    Trunk,
)
from insertion_jax.types import (
    BOS_ID,
    EOS_ID,
    NUM_SPECIALS,
    InsertionLogits,
    Network,
    TrajectoryPolicy,
)

# The birth of rows that are not there.
_NEVER_BORN = jnp.iinfo(jnp.int32).max


class States(NamedTuple):
    """What a pass leaves to be read, over T = L + 2 rows.

    Attributes:
      birth: int32[T].
      newest: float[T, width], `P h` of each row.
      left: float[T, width], of the slot to the left of each row at its birth.
      right: float[T, width], of the slot to the right.
      stop: float[T].
    """

    birth: jax.Array
    newest: jax.Array
    left: jax.Array
    right: jax.Array
    stop: jax.Array


class Cache(NamedTuple):
    """A canvas as a sampler keeps it, over T = L + 2 rows in no order.

    Attributes:
      place: int32[T], of each row on the canvas, BOS being at 0; T for rows that are
        not there.
      length: int32[], tokens on the canvas.
      embedding: float[T, width].
      final: float[T, width], states after the last block.
      layers: keys and values of each block and of the slots' block,
        float[heads, T, width / heads].
      states: `States`; `birth` counts insertions.
      step: int32[], insertions so far.
    """

    place: jax.Array
    length: jax.Array
    embedding: jax.Array
    final: jax.Array
    layers: list
    states: States
    step: jax.Array


class TrajectoryNetwork(nn.Module):
    """Logits of every action on all canvases of one trajectory."""

    config: TransformerConfig
    vocab_size: int
    emits_eos: bool

    def setup(self):
        c = self.config
        self.embed = Embedding(c, self.vocab_size, 3)
        self.prompt_segment = Segment(c)
        self.encoder = Trunk(c)
        self.neighbours = c.linear(c.width)
        block = relative.RelativeBlock
        if c.remat:
            block = nn.remat(block, static_argnums=(6,))
        self.blocks = [block(c) for _ in range(c.num_layers)]
        self.norm = LayerNorm(c.activations)
        self.between = c.linear(c.width)
        self.slot_block = block(c)
        self.slot_norm = LayerNorm(c.activations)
        self.newest, self.slot = c.linear(c.width), c.linear(c.width)
        self.location = Dense(1, use_bias=False)
        self.stop = Dense(1, use_bias=False)
        self.content = Dense(self.vocab_size, use_bias=False)

    def encode_prompt(self, prompt, prompt_mask, deterministic):
        """int[C], bool[C] -> keys and values of each block, and the mask."""
        x = self.embed(prompt, jnp.full(prompt.shape, PROMPT))
        x = self.prompt_segment(x, prompt_mask, prompt)
        if not prompt.shape[0]:
            return [block.prompt(x) for block in self._layers], prompt_mask
        positions = jnp.arange(prompt.shape[0])
        h, _ = self.encoder(x, positions, prompt_mask, deterministic=deterministic)
        return [block.prompt(h) for block in self._layers], prompt_mask

    def rows(self, encoded, tokens, anchored, birth, deterministic):
        """Computes all rows of a trajectory.

        Args:
          encoded: from `encode_prompt`.
          tokens: int[L].
          anchored: bool[L] or None.
          birth: int[L], the step at which each position is born.
          deterministic: no dropout.

        Returns:
          `(states, embedding, layers)` as in `Cache`.
        """
        tokens = jnp.pad(tokens, 1).at[0].set(BOS_ID).at[-1].set(EOS_ID)
        birth = jnp.pad(birth, 1)
        kinds = jnp.full(tokens.shape, INSERTED)
        if anchored is not None:
            kinds = jnp.where(jnp.pad(anchored, 1), ANCHORED, INSERTED)
        embedding = self.embed(tokens, kinds)
        present = birth[None, :] <= birth[:, None]
        # A row's places are those on the canvas of its own birth.
        place = jnp.cumsum(present, axis=1)
        offset = place - jnp.diagonal(place)[:, None]
        view = _View(present, offset)
        h, layers = self._run(
            encoded, embedding, embedding, view, lambda own, _: own, deterministic
        )
        key_value = self.slot_block.rows(h)
        states = self._states(encoded, birth, h, h, view, key_value, deterministic)
        return states, embedding, h, [*layers, key_value]

    def row(self, encoded, cache, slot, token):
        """Inserts one token into a cache, without dropout."""
        size = cache.place.shape[0]
        new = jnp.minimum(cache.length + 1, size - 2)  # rows 1..length are taken

        def put(fresh, old, axis=0):
            return jax.lax.dynamic_update_slice_in_dim(old, fresh, new, axis)

        def into(own, old):
            return tuple(put(*pair, axis=1) for pair in zip(own, old, strict=True))

        shifted = cache.place + ((cache.place > slot) & (cache.place < size))
        place = shifted.at[new].set(slot + 1)
        view = _View((place < size)[None], (place - slot - 1)[None])
        embedding = self.embed(jnp.asarray(token)[None], jnp.full(1, INSERTED))
        embeddings = put(embedding, cache.embedding)
        h, layers = self._run(
            encoded,
            embedding,
            embeddings,
            view,
            lambda own, number: into(own, cache.layers[number]),
            True,
        )
        final = put(h, cache.final)
        key_value = into(self.slot_block.rows(h), cache.layers[-1])
        step = cache.step + 1
        fresh = self._states(encoded, step[None], h, final, view, key_value, True)
        states = jax.tree.map(put, fresh, cache.states)
        return Cache(
            place,
            cache.length + 1,
            embeddings,
            final,
            [*layers, key_value],
            states,
            step,
        )

    @property
    def _layers(self):
        return [*self.blocks, self.slot_block]

    def _run(self, encoded, x, embeddings, view, remember, deterministic):
        """T rows x among S rows -> their final states and all keys and values."""
        x = x + self.neighbours(
            jnp.concatenate(
                [view.beside(-1, embeddings), view.beside(1, embeddings)], -1
            )
        )
        prompt, prompt_mask = encoded
        visible, bucket_of = view.visible(prompt_mask), view.bucket_of()
        layers = []
        for number, block in enumerate(self.blocks):
            layers.append(remember(block.rows(x), number))
            x = block(x, prompt[number], layers[-1], visible, bucket_of, deterministic)
        return self.norm(x), layers

    def _states(self, encoded, birth, h, everyone, view, key_value, deterministic):
        """Reads off T rows what is read again and again."""
        prompt, prompt_mask = encoded
        visible = view.visible(prompt_mask)
        sides = []
        for side in (-1, 1):
            pair = [view.beside(side, everyone), h][::-side]
            x = self.between(jnp.concatenate(pair, axis=-1))
            # The slot lies beside the row, which itself is a neighbour.
            bucket_of = view.seen_from_slot(side).bucket_of()
            x = self.slot_block(
                x, prompt[-1], key_value, visible, bucket_of, deterministic
            )
            sides.append(self.slot(self.slot_norm(x)))
        return States(birth, self.newest(h), *sides, self.stop(_wide(h))[:, 0])

    def slots(self, newest, slot):
        """Location logits and states of slots from float[..., width] each."""
        state = nn.silu(_wide(newest) + _wide(slot))
        return self.location(state)[..., 0], state

    def tokens(self, slot_state):
        """float32[..., width] -> float32[..., V]."""
        ids = jnp.arange(self.vocab_size)
        allowed = ids >= NUM_SPECIALS
        if self.emits_eos:
            allowed |= ids == EOS_ID
        return jnp.where(allowed, self.content(slot_state), NEVER)

    def read(self, states, step):
        """`InsertionLogits` of the canvas at a step."""
        present = states.birth <= step
        place = jnp.where(present, jnp.cumsum(present) - 1, present.size)
        # Products with one-hot rows, whose gradients are products too; those of
        # lookups are slow scatters.
        at = place == jnp.arange(present.size)[:, None]
        birth = jnp.sum(jnp.where(at, states.birth, 0), axis=1)
        by_left = _younger(birth[:-1], birth[1:])[:, None]
        dtype = states.left.dtype
        slot = (at[:-1] & by_left).astype(dtype) @ states.right
        slot += (at[1:] & ~by_left).astype(dtype) @ states.left
        newest = (states.birth == step) & ((step > 0) | (place == 0))
        location, state = self.slots(newest.astype(dtype) @ states.newest, slot)
        stop = newest.astype(states.stop.dtype) @ states.stop
        return InsertionLogits(location, stop, self.tokens(state))

    def look(self, cache):
        """Location logits, stop logit and slot states of the present canvas."""
        states, size = cache.states, cache.place.shape[0]
        nowhere = jnp.zeros(size, jnp.int32)
        row_at = nowhere.at[cache.place].set(jnp.arange(size), mode="drop")
        left, right = row_at[:-1], row_at[1:]
        by_left = _younger(states.birth[left], states.birth[right])[:, None]
        slot = jnp.where(by_left, states.right[left], states.left[right])
        # Rows are filled in the order of insertion, behind those of the start.
        newest = jnp.where(cache.step > 0, cache.length, 0)
        location, state = self.slots(states.newest[newest], slot)
        return location, states.stop[newest], state


def _younger(left, right):
    """Whether a slot came to be with its left neighbour; bool from births.

    The frame and anchored tokens, all of birth 0, count by their place.
    """
    return left > right


class _View(NamedTuple):
    """How T rows see S rows: `present`, bool[T, S], and `offset`, int32[T, S]."""

    present: jax.Array
    offset: jax.Array

    def visible(self, prompt_mask):
        shape = (self.present.shape[0], prompt_mask.shape[0])
        return jnp.concatenate(
            [jnp.broadcast_to(prompt_mask, shape), self.present], axis=1
        )

    def bucket_of(self):
        return jax.nn.one_hot(relative.bucket(self.offset), relative.NUM_BUCKETS)

    def beside(self, side, values):
        """What stands next to each row, float[T, D] from float[S, D]; 0 for nothing."""
        hot = self.present & (self.offset == side)
        return hot.astype(values.dtype) @ values

    def seen_from_slot(self, side):
        """The view of the slots to the left (-1) or right (1) of the rows."""
        beyond = self.offset * side > 0
        return _View(self.present, jnp.where(beyond, self.offset, self.offset - side))


def make(
    config: TransformerConfig, vocab_size: int, *, emits_eos: bool = False
) -> Network:
    """A trajectory policy as pure functions.

    Args:
      config: of the blocks. `neighbours` adds to the prompt alone, and with `prompt_record`
        nothing: inserted tokens always mix with their neighbours.
      vocab_size: V, specials included.
      emits_eos: EOS is content (EOS termination); otherwise the stop logit counts.

    Returns:
      `Network` whose `apply(params, prompt[C], prompt_mask[C], dropout_key=None)` is
      a `TrajectoryPolicy`. The prompt is encoded once for all trajectories. Without
      a dropout key there is no dropout; the key given to `encode` replaces it for
      one trajectory. Sampling adds no dropout of its own: give `apply` no key for it.
    """
    module = TrajectoryNetwork(config, vocab_size, emits_eos)

    def init(key, example):
        def run(module):
            encoded = module.encode_prompt(example.prompt, example.prompt_mask, True)
            birth = _births(example.length, None, None, example.tokens.shape[0])
            states, *_ = module.rows(
                encoded, example.tokens, example.anchored, birth, True
            )
            return module.read(states, 0)

        return nn.init(run, module)(key)["params"]

    def apply(params, prompt, prompt_mask, dropout_key=None):
        deterministic = dropout_key is None
        prompt_key = row_key = None
        if not deterministic:
            prompt_key, row_key = jax.random.split(dropout_key)

        def call(method, *args, key=None):
            rngs = None if key is None else {"dropout": key}
            return module.apply({"params": params}, *args, rngs=rngs, method=method)

        encoded = call(
            "encode_prompt", prompt, prompt_mask, deterministic, key=prompt_key
        )

        def encode(tokens, length, perm, anchored=None, key=None):
            birth = _births(length, perm, anchored, tokens.shape[0])
            states, *_ = call(
                "rows",
                encoded,
                tokens,
                anchored,
                birth,
                deterministic,
                key=row_key if key is None else key,
            )
            return states

        def begin(canvas):
            birth = _births(canvas.length, None, None, canvas.tokens.shape[0])
            states, embedding, final, layers = call(
                "rows", encoded, canvas.tokens, canvas.anchored, birth, True
            )
            size = states.birth.shape[0]
            place = jnp.where(jnp.pad(birth, 1) == 0, jnp.arange(size), size)
            place = place.at[-1].set(canvas.length + 1)
            length = jnp.asarray(canvas.length, jnp.int32)
            return Cache(place, length, embedding, final, layers, states, jnp.int32(0))

        def look(cache):
            slot, stop, state = call("look", cache)
            return slot, stop, lambda number: call("tokens", state[number])

        return TrajectoryPolicy(
            encode,
            lambda states, step: call("read", states, step),
            begin,
            look,
            lambda cache, slot, token: call("row", encoded, cache, slot, token),
        )

    return Network(init, apply)


def _births(length, perm, anchored, size):
    """int32[L]: 0 for anchored tokens, t for `perm[t - 1]`, never beyond the end.

    Without an order all tokens stand at the start.
    """
    inside = jnp.arange(size) < length
    if perm is None:
        return jnp.where(inside, 0, _NEVER_BORN)
    missing = trajectories.missing_positions(size, length, anchored)
    birth = jnp.where(missing, permutations.inverse(perm) + 1, _NEVER_BORN)
    return birth if anchored is None else jnp.where(anchored & inside, 0, birth)


def _wide(x):
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
