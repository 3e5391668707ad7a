"""The Insertion Process with networks for policy and posterior, as a `Method`."""

import dataclasses
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from insertion_jax.core import estimators, permutations, policies, trajectories
from insertion_jax.methods import insertion_process
from insertion_jax.types import EOS_ID, Batch, InputError, Method, Network

ORDERS = ("learned", "uniform", "left_to_right", "task")
TERMINATIONS = ("policy", "eos")


@dataclasses.dataclass(frozen=True)
class InsertionConfig:
    """Choices of the objective.

    Attributes:
      order: "learned" (a posterior network, IP), "uniform" (AO-IP), "left_to_right" or
        "task" (one that the task prescribes).
      termination: "policy", a stop outcome beside the slots, or "eos", an EOS token
        inserted last at the last slot.
      order_steps: updates over which an order that is neither learned nor uniform
        becomes certain, from the uniform one: of the missing positions the next is drawn
        with probability proportional to (1 - c)^rank, c = min(1, step / order_steps)^3.
        0: c = 1 from the first, where a canvas teaches one target, which is little for
        a start. Bounds are at c = 1 throughout.
      min_insertions: stopping is impossible before so many tokens were inserted, in
        likelihood and sampling alike; every example must have as many to insert.
      num_samples: M, orders a step is evaluated on; the paper's 2 for a learned
        order.
      num_steps: K, steps of each order; K x M canvases an example and update. 0 for
        every step, which a trajectory network gets from one pass an order.
      num_widths: G, a divisor of K: canvases of early steps are cut to G widths, not
        padded to L. For canvas networks, and long targets; 1 for none.
      entropy_weight: extra weight of the posterior's entropy at the first update.
      entropy_anneal_steps: updates over which that weight changes linearly to
        `entropy_final_weight`; 0 keeps it.
      entropy_final_weight: where it stays then. Above 0, an order does not settle for
        the last bit of the bound.
      share_dropout: the canvases of one example share their dropout masks, so that
        noise does not enter the comparison between orders.
      bound_samples: orders drawn for each example's bounds.
    """

    order: str = "learned"
    order_steps: int = 0
    termination: str = "policy"
    min_insertions: int = 0
    num_samples: int = 2
    num_steps: int = 1
    num_widths: int = 1
    entropy_weight: float = 0.0
    entropy_anneal_steps: int = 0
    entropy_final_weight: float = 0.0
    share_dropout: bool = True
    bound_samples: int = 16

    def __post_init__(self):
        if self.order not in ORDERS:
            raise InputError(f"order must be one of {ORDERS}, got {self.order!r}.")
        if self.termination not in TERMINATIONS:
            raise InputError(
                f"termination must be one of {TERMINATIONS}, got {self.termination!r}."
            )
        for name, least in (
            ("order_steps", 0),
            ("min_insertions", 0),
            ("num_samples", 1),
            ("num_steps", 0),
            ("num_widths", 1),
            ("bound_samples", 1),
        ):
            if getattr(self, name) < least:
                raise InputError(
                    f"{name} is {getattr(self, name)}, but must be at least {least}."
                )
        if self.num_widths > 1 and not self.num_steps:
            raise InputError(
                f"num_widths is {self.num_widths}, but all steps are taken (num_steps is "
                "0); it must be 1."
            )
        if self.num_widths > 1 and self.num_steps % self.num_widths:
            raise InputError(
                f"num_widths is {self.num_widths}, but must divide num_steps, which is "
                f"{self.num_steps}."
            )
        for name in ("entropy_weight", "entropy_final_weight"):
            if self.order != "learned" and getattr(self, name):
                raise InputError(
                    f"{name} is {getattr(self, name)}, but the {self.order} order is "
                    "not trained; it must be 0."
                )
        if self.entropy_final_weight and not self.entropy_anneal_steps:
            raise InputError(
                f"entropy_final_weight is {self.entropy_final_weight}, but the weight "
                "does not change (entropy_anneal_steps is 0); it must be 0."
            )
        if self.order in ("learned", "uniform") and self.order_steps:
            raise InputError(
                f"order_steps is {self.order_steps}, but the order is {self.order}; "
                "it must be 0."
            )
        if self.order == "learned" and self.num_samples < 2:
            raise InputError(
                "A learned order needs num_samples of at least 2, "
                f"got {self.num_samples}."
            )


def make(
    policy: Network,
    order: Network | None,
    config: InsertionConfig,
    max_anchored: int | None = None,
    task_order: Callable[[Batch], chex.Array] | None = None,
) -> Method:
    """Joins the networks to the objective.

    Args:
      policy: `apply(params, prompt, prompt_mask, dropout_key)` is a policy of either
        kind.
      order: `apply(params, example, dropout_key)` gives the posterior's logits;
        None unless the order is learned.
      config: of the objective.
      max_anchored: of any example to train on; needed where `num_widths` is not 1.
      task_order: `(example) -> int32[L]`, the step at which the task prescribes that
        each position be inserted; needed where that is the order.

    Returns:
      `Method`; its parameter groups are "policy" and, for a learned order, "order".

    Raises:
      InputError: if a posterior is missing, or given for an order that needs none; if
        the task's order is wanted, and there is none.
    """
    learned = config.order == "learned"
    if learned != (order is not None):
        raise InputError(
            f"order {config.order!r} goes {'with' if learned else 'without'} a "
            "posterior network."
        )
    if config.order == "task" and task_order is None:
        raise InputError(
            "order is 'task', but this task prescribes none; allowed are "
            f"{', '.join(order for order in ORDERS if order != 'task')}."
        )
    eos_id = EOS_ID if config.termination == "eos" else None

    def init(key, example):
        key_policy, key_order = jax.random.split(key)
        params = {"policy": policy.init(key_policy, example)}
        if learned:
            params["order"] = order.init(key_order, example)
        return params

    def fixed_order_logits(example, certainty=1.0):
        size = example.tokens.shape[0]
        if config.order == "uniform":
            return insertion_process.fixed_order_logits("uniform", size)
        rank = task_order(example) if config.order == "task" else jnp.arange(size)
        return permutations.ranked_logits(rank, certainty)

    def order_logits_of(params, example, dropout_key=None):
        if learned:
            return order.apply(params["order"], example, dropout_key)
        return fixed_order_logits(example)

    def policy_of(params, example, dropout_key=None):
        applied = policy.apply(
            params["policy"], example.prompt, example.prompt_mask, dropout_key
        )
        if not config.min_insertions:
            return applied
        return policies.stopping_after(applied, config.min_insertions, eos_id)

    def entropy_weight_at(step):
        if not config.entropy_anneal_steps:
            return config.entropy_weight
        left = jnp.maximum(1.0 - step / config.entropy_anneal_steps, 0.0)
        final = config.entropy_final_weight
        return final + left * (config.entropy_weight - final)

    def loss(params, example, key, step):
        key_draw, key_policy, key_order, key_passes = jax.random.split(key, 4)
        order_logits = order_logits_of(params, example, key_order)
        if config.order_steps:
            certainty = jnp.minimum(step / config.order_steps, 1.0) ** 3
            order_logits = fixed_order_logits(example, certainty)
        surrogate, info = insertion_process.elbo_surrogate(
            key_draw,
            policy_of(params, example, key_policy),
            order_logits,
            example.tokens,
            example.length,
            num_samples=config.num_samples,
            num_steps=config.num_steps or None,
            num_widths=config.num_widths,
            max_anchored=max_anchored,
            anchored=example.anchored,
            closed=example.closed,
            eos_id=eos_id,
            learned=learned,
            entropy_weight=entropy_weight_at(step),
            dropout_key=None if config.share_dropout else key_passes,
        )
        return -surrogate, info._asdict()

    def bound(params, example, key):
        weights = insertion_process.log_weights(
            key,
            policy_of(params, example),
            order_logits_of(params, example),
            example.tokens,
            example.length,
            num_samples=config.bound_samples,
            anchored=example.anchored,
            closed=example.closed,
            eos_id=eos_id,
        )
        return {
            "elbo": jnp.mean(weights),
            "importance_weighted_bound": estimators.log_mean_exp(weights),
        }

    def sample(params, example, key, *, temperature=1.0, top_p=1.0, greedy=False):
        canvas = trajectories.canvas_of(
            example.tokens, example.anchored, anchored=example.anchored
        )
        return insertion_process.sample(
            key,
            policy_of(params, example),
            canvas,
            max_length=example.tokens.shape[0],
            temperature=temperature,
            top_p=top_p,
            greedy=greedy,
            closed=example.closed,
            eos_id=eos_id,
        )

    def log_rates(params, example):
        # Plackett and Luce's law is that of a race of exponential times.
        return {"insertion": order_logits_of(params, example)}

    return Method(init, loss, bound, sample, log_rates=log_rates if learned else None)
