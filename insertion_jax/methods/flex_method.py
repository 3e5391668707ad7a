"""FlexMDM and LoFlexMDM with networks, as a `Method`."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from insertion_jax.core import schedules, trajectories
from insertion_jax.methods import (
    flex_law,
    flex_loss,
    flex_masked_diffusion,
    flex_regulariser,
    flex_sampler,
)
from insertion_jax.types import Canvas, InputError, Method, Network, Trace


@dataclasses.dataclass(frozen=True)
class FlexConfig:
    """Choices that FlexMDM and LoFlexMDM have in common.

    Attributes:
      normalisation: of the loss: "elbo" (the bound), "paper" (LoFlexMDM's: the mean
        over masks, and insertions over the padded length) or "flexmdm" (the bound
        over the padded length).
      num_samples: M, noised sequences at each time; LoFlexMDM's 2.
      num_times: K, times at which they are made; K x M canvases an example and update.
      time_exponent: training times are 1 - s^this, s uniform, with weights that keep
        the loss; 1 is the published uniform law.
      share_dropout: the canvases of one example share their dropout masks.
      bound_samples: times at which an example's bound is estimated.
      sampler_steps: N, leaps of the sampler.
      sampler_exponent: leap k ends at time 1 - (1 - k / N)^this; 1 is the published
        even grid, which loses tokens at the end.
      top_k: the sampler draws tokens from the k most probable ones; 0 for all.
      confidence: which masks a leap reveals: "none" (those whose event came), or of
        the same number the best by "top_prob", "prob_diff" or "entropy".
      count_without_hazard: with a confidence, draw that number as FlexMDM's published
        code does, without the hazard.
    """

    normalisation: str = "elbo"
    num_samples: int = 2
    num_times: int = 1
    time_exponent: float = 2.0
    share_dropout: bool = True
    bound_samples: int = 64
    sampler_steps: int = 256
    sampler_exponent: float = 2.0
    top_k: int = 0
    confidence: str = "none"
    count_without_hazard: bool = False

    def __post_init__(self):
        _check_choice("normalisation", self.normalisation, flex_loss.NORMALISATIONS)
        _check_choice("confidence", self.confidence, flex_sampler.CONFIDENCES)
        least = {
            "num_samples": 1,
            "num_times": 1,
            "time_exponent": 1,
            "bound_samples": 1,
            "sampler_steps": 2,
            "sampler_exponent": 1,
            "top_k": 0,
        }
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise InputError(
                    f"{name} is {getattr(self, name)}, but must be at least {bound}."
                )
        if self.count_without_hazard and self.confidence == "none":
            raise InputError(
                "count_without_hazard is about how many of the most confident masks "
                "are revealed; it needs a confidence."
            )


@dataclasses.dataclass(frozen=True)
class FlexMDMConfig(FlexConfig):
    """Fixed laws of the event times, the same for all tokens (arXiv 2509.01025).

    Attributes:
      insert_schedule: the law of insertion times: "linear", "sine", "cosine",
        "polynomial" or "geometric" (which does not reach the data by t = 1, so that
        its bound is none).
      insert_parameters: of that schedule: `(exponent,)` of "polynomial", `(start, end)`
        of "geometric".
      unmask_schedule: the law of unmasking times, cut off at the insertion.
      unmask_parameters: of that schedule.
    """

    num_samples: int = 1
    insert_schedule: str = "linear"
    insert_parameters: tuple[float, ...] = ()
    unmask_schedule: str = "linear"
    unmask_parameters: tuple[float, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        _law_of(self)  # raises where there is no such schedule


@dataclasses.dataclass(frozen=True)
class LoFlexMDMConfig(FlexConfig):
    """Learned Kumaraswamy laws of the event times (arXiv 2602.18695).

    The paper's normalisation is the default here: its value varies so much less
    between samples that an order is found where, with the bound, all rates stay equal
    for thousands of updates.

    Attributes:
      shape: a, common to all tokens and both events.
      learns_unmask: the rates of unmasking are learned too; if not, they are 1, as in
        the paper's main results.
      rates_see_time: the event rates depend on the time too, as in the authors' code.
        The law is then only nearly the one that is trained, and the bound none.
      mean_weight: weight of the penalty on the mean law, a sum over 100 times: .01
        makes it a mean. 1 in the paper, as are the next two.
      boundary_weight: weight of the penalty on events that pile up at the ends.
      kl_weight: weight of the divergence from the uniform law.
    """

    normalisation: str = "paper"
    shape: float = 1.0
    learns_unmask: bool = False
    rates_see_time: bool = False
    mean_weight: float = 0.01
    boundary_weight: float = 1.0
    kl_weight: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if not self.shape > 0:
            raise InputError(f"shape is {self.shape}, but must be positive.")
        for name in ("mean_weight", "boundary_weight", "kl_weight"):
            if not getattr(self, name) >= 0:
                raise InputError(
                    f"{name} is {getattr(self, name)}, but must be at least 0."
                )
        if self.num_samples < 2:
            raise InputError(
                "Learned event rates need num_samples of at least 2, "
                f"got {self.num_samples}."
            )


def make(
    denoiser: Network,
    events: Network | None,
    config: FlexConfig,
    *,
    mask_id: int,
    padded_length: int | None = None,
    both: Callable | None = None,
) -> Method:
    """Joins the networks to the objective.

    Args:
      denoiser: `apply(params, prompt, prompt_mask, dropout_key)` is a denoiser.
      events: for a `LoFlexMDMConfig`, `apply(params, example, time, dropout_key)`
        gives `(insert[L], unmask[L])`. None for a `FlexMDMConfig`.
      config: of the objective and the sampler.
      mask_id: the token that stands for a mask.
      padded_length: by which losses are divided that are normalised so; C + L of the
        example if None, which batches of other widths would not share.
      both: for networks on one trunk, reads with both in one: `(params, order_params,
        example, dropout_keys) -> (denoise, event_rates)`, with two keys or None; see
        `networks.flexible.make_shared`. Losses and bounds then use it in place of both
        `apply`.

    Returns:
      `Method`; its parameter groups are "policy" and, with event rates, "order".

    Raises:
      InputError: if a network of event rates is missing, or given where it is not
        needed.
    """
    learned = isinstance(config, LoFlexMDMConfig)
    if learned != (events is not None) or (both is not None and not learned):
        raise InputError(
            f"{type(config).__name__} goes {'with' if learned else 'without'} a network "
            "of event rates."
        )
    law = _law_of(config)
    sees_time = learned and config.rates_see_time
    read = both or _apart(denoiser, events)

    def init(key, example):
        key_policy, key_order = jax.random.split(key)
        params = {"policy": denoiser.init(key_policy, example)}
        if learned:
            params["order"] = events.init(key_order, example)
        return params

    def networks_of(params, example, dropout_keys=None):
        """The denoiser, and `(time) -> (insert[L], unmask[L])`."""
        denoise, event_rates = read(
            params["policy"], params.get("order"), example, dropout_keys
        )
        if sees_time:
            return denoise, event_rates
        rates = event_rates(jnp.zeros(()))
        return denoise, lambda t: rates

    def objective_of(example):
        return {
            "law": law,
            "mask_id": mask_id,
            "anchored": example.anchored,
            "closed": example.closed,
        }

    def loss(params, example, key, step):
        del step
        key_draw, key_policy, key_order, key_passes, key_penalty = jax.random.split(
            key, 5
        )
        denoise, event_rates = networks_of(params, example, (key_policy, key_order))
        value, info = flex_masked_diffusion.loss_surrogate(
            key_draw,
            denoise,
            event_rates,
            example.tokens,
            example.length,
            num_samples=config.num_samples,
            num_times=config.num_times,
            time_exponent=config.time_exponent,
            normalisation=config.normalisation,
            padded_length=padded_length
            or example.tokens.shape[0] + example.prompt.shape[0],
            learned=learned,
            dropout_key=None if config.share_dropout else key_passes,
            **objective_of(example),
        )
        info = info._asdict()
        if learned:
            penalty, more = penalty_of(key_penalty, event_rates, example)
            value, info = value + penalty, info | more
        return value, info

    def penalty_of(key, event_rates, example):
        size = example.tokens.shape[0]
        free = trajectories.missing_positions(size, example.length, example.anchored)
        key_time, key_insert, key_unmask = jax.random.split(key, 3)
        insert, unmask = event_rates(jax.random.uniform(key_time))
        parts = flex_regulariser.penalties(key_insert, config.shape, insert, free)
        if config.learns_unmask:
            more = flex_regulariser.penalties(key_unmask, config.shape, unmask, free)
            parts = jax.tree.map(jnp.add, parts, more)
        weights = (config.mean_weight, config.boundary_weight, config.kl_weight)
        # A weight of 0 saves a gradient, of which the last part's is dear.
        weighted = sum(w * part for w, part in zip(weights, parts, strict=True) if w)
        info = {f"penalty_{name}": value for name, value in parts._asdict().items()}
        for name, rates in (("insert", insert), ("unmask", unmask)):
            if name == "insert" or config.learns_unmask:
                least = jnp.min(rates, where=free, initial=jnp.inf)
                most = jnp.max(rates, where=free, initial=0.0)
                info[f"{name}_rate_least"] = jnp.where(free.any(), least, 0.0)
                info[f"{name}_rate_most"] = most
        return weighted, jax.lax.stop_gradient(info)

    def bound(params, example, key):
        return {
            "elbo": flex_masked_diffusion.elbo(
                key,
                *networks_of(params, example),
                example.tokens,
                example.length,
                num_times=config.bound_samples,
                **objective_of(example),
            )
        }

    sample_with_times = timed_sampler(denoiser, config, mask_id=mask_id)

    def sample(params, example, key, **options):
        return sample_with_times(params, example, key, **options)[:2]

    def sample_times(params, example, key, **options):
        canvas, trace, times = sample_with_times(params, example, key, **options)
        return canvas, trace, {"insertion": times.insert, "reveal": times.reveal}

    def log_rates(params, example):
        group = params["order"] if both is None else params["policy"] | params["order"]
        insert, unmask = events.apply(group, example, jnp.zeros(()))
        rates = {"insertion": jnp.log(insert)}
        if config.learns_unmask:
            rates["reveal"] = jnp.log(unmask)
        return rates

    return Method(
        init, loss, bound, sample, sample_times, log_rates if learned else None
    )


def _apart(denoiser, events):
    """`both` of networks that share nothing; without events all rates are 1."""

    def both(params, order_params, example, dropout_keys=None):
        key, events_key = dropout_keys or (None, None)
        denoise = denoiser.apply(params, example.prompt, example.prompt_mask, key)
        if events is None:
            ones = jnp.ones(example.tokens.shape)
            return denoise, lambda t: (ones, ones)

        def event_rates(t):
            # The same dropout at all times, so that noise does not look like time.
            again = None if events_key is None else jax.random.clone(events_key)
            return events.apply(order_params, example, t, again)

        return denoise, event_rates

    return both


def timed_sampler(
    denoiser: Network, config: FlexConfig, *, mask_id: int
) -> Callable[..., tuple[Canvas, Trace, flex_sampler.EventTimes]]:
    """The method's sampler, which also says when each token came.

    Args: as of `make`.

    Returns:
      `(params, example, key, *, temperature, top_p, greedy) ->
      (Canvas, Trace, EventTimes)`, otherwise as `Method.sample`.
    """
    law = _law_of(config)

    def sample(params, example, key, *, temperature=1.0, top_p=1.0, greedy=False):
        return flex_masked_diffusion.sample(
            key,
            denoiser.apply(params["policy"], example.prompt, example.prompt_mask),
            trajectories.canvas_of(
                example.tokens, example.anchored, anchored=example.anchored
            ),
            mask_id=mask_id,
            num_steps=config.sampler_steps,
            time_exponent=config.sampler_exponent,
            insert_clock=law.insert_clock,
            unmask_clock=law.unmask_clock,
            max_length=example.tokens.shape[0],
            temperature=temperature,
            top_p=top_p,
            top_k=config.top_k,
            greedy=greedy,
            confidence=config.confidence,
            count_without_hazard=config.count_without_hazard,
            closed=example.closed,
        )

    return sample


def _law_of(config):
    if isinstance(config, LoFlexMDMConfig):
        return flex_law.kumaraswamy(config.shape)
    _check_choice("insert_schedule", config.insert_schedule, schedules.SCHEDULES)
    _check_choice("unmask_schedule", config.unmask_schedule, schedules.SCHEDULES)
    return flex_law.scheduled(
        schedules.SCHEDULES[config.insert_schedule](*config.insert_parameters),
        schedules.SCHEDULES[config.unmask_schedule](*config.unmask_parameters),
    )


def _check_choice(name, value, allowed):
    if value not in allowed:
        raise InputError(f"{name} must be one of {tuple(allowed)}, got {value!r}.")
