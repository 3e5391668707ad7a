"""Networks of flexible-length masked diffusion: a denoiser, and the rates of events.

The denoiser reads the prompt and a canvas with masks at a time t. Token logits and
the rate of unmasking are read from each token's row, the rate of insertion into a gap
from the row to its right, the closing EOS for the last gap. A rate b means the hazard
b * r(t), so that the heads need not follow the schedule. Time enters as one vector,
added to the embedding of every row of the canvas and once more in front of the rate
heads; the prompt does not read it, so it is encoded once for all times.

The event rates, LoFlexMDM's auxiliary network, are read off the complete sequence in
training alone (Patel et al., arXiv 2602.18695). By default they do not see the time:
b * r(t) is the hazard of a Kumaraswamy law only where b is constant.

The mask is token V, one beyond the vocabulary.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from insertion_jax.core.leaps import MaskedRates
from insertion_jax.networks import framed_canvas
from insertion_jax.networks.canvas import NEVER
from insertion_jax.networks.dense import Dense
from insertion_jax.networks.rate_heads import RateConfig, RateHead, TimeEmbedding
from insertion_jax.networks.transformer import TransformerConfig
from insertion_jax.types import NUM_SPECIALS, Batch, Canvas, Network


class FlexibleNetwork(framed_canvas.FramedCanvas):
    """A denoiser, the rates of events, or both on one trunk.

    Attributes:
      rates: of the denoiser; None for no denoiser.
      order_rates: of the events; None for none.
      learns_unmask: there are heads for the rate of unmasking; else it is 1.
      order_sees_time: the rates of events depend on the time too.
    """

    rates: RateConfig | None
    order_rates: RateConfig | None
    learns_unmask: bool
    order_sees_time: bool

    def setup(self):
        super().setup()
        c = self.config
        if self.rates is not None or self.order_sees_time:
            self.time = TimeEmbedding(c.width)
        if self.rates is not None:
            self.token_state = c.linear(c.width)
            self.content = Dense(self.num_ids - 1, use_bias=False)
            self.insert = RateHead(self.rates)
            if self.learns_unmask:
                self.unmask = RateHead(self.rates)
        if self.order_rates is not None:
            self.order_insert = RateHead(self.order_rates)
            if self.learns_unmask:
                self.order_unmask = RateHead(self.order_rates)

    def denoise(self, encoded, canvas, time, deterministic):
        """Reads a canvas with masks at a time float[] -> `MaskedRates`, float32."""
        embedded = self.time(time)
        h = self.read(encoded, canvas, deterministic, embedded)
        h, tokens = h[1:], h[1:-1]
        state = nn.silu(self.token_state(tokens)).astype(jnp.float32)
        logits = self.content(state)
        is_content = jnp.arange(logits.shape[-1]) >= NUM_SPECIALS
        unmask = jnp.ones(tokens.shape[0])
        if self.learns_unmask:
            unmask = self.unmask(tokens, embedded)
        return MaskedRates(
            token=jnp.where(is_content, logits, NEVER),
            insert=self.insert(h, embedded),
            unmask=unmask,
        )

    def event_rates(self, encoded, canvas, time, deterministic):
        """Reads a complete sequence -> rates of insertion and unmasking, float32[L]."""
        embedded = self.time(time) if self.order_sees_time else None
        h = self.read(encoded, canvas, deterministic, embedded)[1:-1]
        insert = self.order_insert(h, embedded)
        if not self.learns_unmask:
            return insert, jnp.ones_like(insert)
        return insert, self.order_unmask(h, embedded)


def make(
    config: TransformerConfig,
    vocab_size: int,
    rates: RateConfig,
    *,
    learns_unmask: bool = False,
    prompt_sees_canvas: bool = False,
) -> Network:
    """A denoiser as pure functions.

    Args:
      config: of the trunk.
      vocab_size: V, specials included; the mask is token V.
      rates: of insertion and, if learned, of unmasking.
      learns_unmask: the rate of unmasking is learned; else it is 1.
      prompt_sees_canvas: attention runs from the prompt to the canvas too, so the
        prompt is encoded anew for every canvas; if not, once for all.

    Returns:
      `Network` whose `apply(params, prompt[C], prompt_mask[C], dropout_key=None)` is
      a denoiser `(Canvas, time, key=None) -> MaskedRates`. Without a dropout key
      there is no dropout; `key` replaces it for one canvas.
    """
    module = FlexibleNetwork(
        config,
        vocab_size + 1,
        prompt_sees_canvas,
        rates=rates,
        order_rates=None,
        learns_unmask=learns_unmask,
        order_sees_time=False,
    )
    return Network(_init(module), _denoiser(module))


def make_order(
    config: TransformerConfig,
    vocab_size: int,
    rates: RateConfig,
    *,
    learns_unmask: bool = False,
    sees_time: bool = False,
) -> Network:
    """The rates of events as pure functions, on a trunk of their own.

    Args:
      config: of the trunk.
      vocab_size: V, specials included.
      rates: of both events.
      learns_unmask: the rate of unmasking is learned; else it is 1.
      sees_time: the rates depend on the time too (as in the authors' code, where the
        law of the events is then no longer quite the one that is trained).

    Returns:
      `Network` whose `apply(params, example, time, dropout_key=None)` gives
      `(insert, unmask)`, float32[L] each, from one example (a `Batch` without its
      leading axis); beyond the sequence's length they mean nothing.
    """
    module = FlexibleNetwork(
        config,
        vocab_size + 1,
        prompt_sees_canvas=True,
        rates=None,
        order_rates=rates,
        learns_unmask=learns_unmask,
        order_sees_time=sees_time,
    )
    return Network(_init(module), _event_rates(module))


def make_shared(
    config: TransformerConfig,
    vocab_size: int,
    rates: RateConfig,
    order_rates: RateConfig,
    *,
    learns_unmask: bool = False,
    order_sees_time: bool = False,
    prompt_sees_canvas: bool = False,
) -> tuple[Network, Network, Callable]:
    """A denoiser and the rates of events on one trunk, with heads of their own.

    Args: as of `make` and `make_order`.

    Returns:
      `(denoiser, events, both)`. The first two are used as those of `make` and
      `make_order`. The parameters of `events` are its heads; its `apply` needs those of
      the denoiser too, in one dict. `both(params, order_params, example,
      dropout_keys=None)`, with the parameters of the denoiser and of the events, gives
      `(denoise, event_rates)` in one: the denoiser after that example's prompt, and
      `event_rates(time) -> (insert, unmask)`, float32[L] each. Where the prompt does not
      see the canvas it is encoded once, and its dropout is the same for both.
      `dropout_keys` are two, the denoiser's and the events'; None for no dropout.
    """
    module = FlexibleNetwork(
        config,
        vocab_size + 1,
        prompt_sees_canvas,
        rates=rates,
        order_rates=order_rates,
        learns_unmask=learns_unmask,
        order_sees_time=order_sees_time,
    )

    def init_part(is_events):
        def init(key, example):
            params = _init(module)(key, example)
            return {
                name: group
                for name, group in params.items()
                if name.startswith("order_") == is_events
            }

        return init

    def both(params, order_params, example, dropout_keys=None):
        key, events_key = dropout_keys or (None, None)
        prompt_key, canvas_key = framed_canvas.split(key)
        read = framed_canvas.reader(
            module,
            params | order_params,
            example.prompt,
            example.prompt_mask,
            prompt_key,
        )
        complete = Canvas(example.tokens, example.length, example.anchored)

        def event_rates(time):
            # The same dropout at all times, so that noise does not look like time.
            again = None if events_key is None else jax.random.clone(events_key)
            return read("event_rates", again, complete, time)

        return _denoise(read, canvas_key), event_rates

    return (
        Network(init_part(False), _denoiser(module)),
        Network(init_part(True), _event_rates(module)),
        both,
    )


def _init(module):
    def init(key, example: Batch):
        def run(module):
            encoded = module.encode(example.prompt, example.prompt_mask, True)
            canvas = Canvas(example.tokens, example.length, example.anchored)
            if module.rates is not None:
                module.denoise(encoded, canvas, jnp.zeros(()), True)
            if module.order_rates is not None:
                module.event_rates(encoded, canvas, jnp.zeros(()), True)

        return nn.init(run, module)(key)["params"]

    return init


def _denoiser(module):
    def apply(params, prompt, prompt_mask, dropout_key=None):
        prompt_key, canvas_key = framed_canvas.split(dropout_key)
        read = framed_canvas.reader(module, params, prompt, prompt_mask, prompt_key)
        return _denoise(read, canvas_key)

    return apply


def _denoise(read, canvas_key):
    def denoise(canvas, time, key=None):
        return read("denoise", canvas_key if key is None else key, canvas, time)

    return denoise


def _event_rates(module):
    def apply(params, example: Batch, time, dropout_key=None):
        deterministic = dropout_key is None

        def run(module):
            encoded = module.encode(example.prompt, example.prompt_mask, deterministic)
            canvas = Canvas(example.tokens, example.length, example.anchored)
            return module.event_rates(encoded, canvas, time, deterministic)

        rngs = None if deterministic else {"dropout": dropout_key}
        return nn.apply(run, module)({"params": params}, rngs=rngs)

    return apply
