"""The train state, the optimiser, and one step of training.

The step is written for the global batch and names no device axis: a placement
gives it `all_sum`, and the same function runs on one device or on many.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from insertion_jax import types

SCHEDULES = ("cosine", "constant")


class TrainState(NamedTuple):
    """All that a run needs to go on from where it is.

    Attributes:
      step: int32[], how many updates were made.
      params: dict of parameter groups, of which "policy" is the one that generates.
      ema_params: the moving average of `params["policy"]`.
      opt_state: the optimiser's state.
      key: typed key[], constant over the run; every step folds its number into it.
    """

    step: jax.Array
    params: Any
    ema_params: Any
    opt_state: Any
    key: jax.Array


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW or Muon, its schedule and the moving average.

    Attributes:
      total_steps: where the cosine reaches 0; not read by the constant schedule.
      learning_rate: the peak.
      warmup_steps: updates over which the rate rises linearly from 0.
      schedule: after the warm-up, "cosine" (half a period, down to 0) or "constant".
      weight_decay: of all parameters, multiplied by the learning rate.
      clip_norm: bound of the gradient's norm over all groups together; None for none.
      b1: decay of AdamW's first moment.
      b2: decay of AdamW's second moment.
      muon_rms: above 0, the hidden matrices (kernels of Flax layers but for the heads)
        are updated by Muon, by this root mean square times the learning rate; AdamW's
        updates have about 0.2. Its momentum is optax's default (Nesterov, 0.95). All
        other parameters stay with AdamW. 0: all do.
      group_scale: multiplier of the learning rate by parameter group, such as
        `{"order": 0.01}`; groups that are not named have 1.
      ema_decay: decay of the moving average of the policy's parameters.
      ema_start_step: the average is a copy of the parameters up to this step.
    """

    total_steps: int
    learning_rate: float = 3e-4
    warmup_steps: int = 0
    schedule: str = "cosine"
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    b1: float = 0.9
    b2: float = 0.999
    muon_rms: float = 0.0
    group_scale: Mapping[str, float] = dataclasses.field(default_factory=dict)
    ema_decay: float = 0.9999
    ema_start_step: int = 0

    def __post_init__(self):
        if self.schedule not in SCHEDULES:
            raise types.InputError(
                f"schedule is {self.schedule!r}; allowed are {', '.join(SCHEDULES)}."
            )
        if self.schedule == "cosine" and self.total_steps <= self.warmup_steps:
            raise types.InputError(
                f"total_steps is {self.total_steps}, but the cosine schedule needs "
                f"more steps than the {self.warmup_steps} of warmup_steps."
            )
        for name in ("learning_rate", "warmup_steps", "weight_decay", "muon_rms"):
            if not getattr(self, name) >= 0:
                raise types.InputError(
                    f"{name} is {getattr(self, name)}, but must be at least 0."
                )
        if not 0.0 <= self.ema_decay < 1.0:
            raise types.InputError(
                f"ema_decay is {self.ema_decay}; allowed are 0 (no averaging) up to, "
                "not including, 1."
            )
        if self.clip_norm is not None and self.clip_norm <= 0.0:
            raise types.InputError(
                f"clip_norm is {self.clip_norm}; allowed are positive numbers, or "
                "None for no clipping."
            )


def learning_rate_at(config: OptimizerConfig, step: jax.typing.ArrayLike) -> jax.Array:
    """Returns the learning rate of the update made at `step`.

    Args:
      config: of the optimiser.
      step: int32[], the number of updates made before.

    Returns:
      float32[].
    """
    step = jnp.asarray(step, jnp.float32)
    rate = config.learning_rate * jnp.clip(step / max(config.warmup_steps, 1), 0.0, 1.0)
    if config.warmup_steps == 0:
        rate = jnp.float32(config.learning_rate)
    if config.schedule == "constant":
        return rate
    length = config.total_steps - config.warmup_steps
    progress = jnp.clip((step - config.warmup_steps) / length, 0.0, 1.0)
    return rate * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))


# What reads states out; Muon is for the matrices between embeddings and these.
_HEADS = ("content", "location", "logit", "score", "stop")


def _which_are_hidden(params):
    """Labels Flax kernels between embeddings and heads "hidden", the rest "other"."""

    def label(path, leaf):
        names = [getattr(entry, "key", None) for entry in path]
        is_kernel = leaf.ndim == 2 and names[-1] == "kernel"
        return "hidden" if is_kernel and names[-2] not in _HEADS else "other"

    return jax.tree_util.tree_map_with_path(label, params)


def _muon(rms):
    """Momentum with all singular values made about 1, then scaled to this `rms`.

    An orthogonal matrix of [M, N] has entries of root mean square max(M, N)^(-1/2).

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural
    networks"; scaled as by Liu et al., arXiv 2502.16982, section 2.2.
    """

    def dimensions(params):
        return jax.tree.map(lambda _: optax.contrib.MuonDimensionNumbers(), params)

    def scale(updates, _):
        return jax.tree.map(lambda x: rms * max(x.shape) ** 0.5 * x, updates)

    return optax.chain(
        optax.contrib.scale_by_muon(weight_dimension_numbers=dimensions),
        optax.stateless(scale),
    )


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Returns the optimiser with clipping, schedule and a learning rate for each group.

    Its `init` raises an InputError where `config.group_scale` names a group that the
    parameters do not have.

    Source: Loshchilov & Hutter, arXiv 1711.05101 (AdamW); Jordan et al. 2024 (Muon).
    """

    def group_of(params):
        unknown = sorted(set(config.group_scale) - set(params))
        if unknown:
            raise types.InputError(
                f"group_scale names {', '.join(map(repr, unknown))}, but the "
                f"parameter groups are {', '.join(map(repr, sorted(params)))}."
            )
        return {
            name: name if name in config.group_scale else "the rest" for name in params
        }

    scales = {name: optax.scale(scale) for name, scale in config.group_scale.items()}
    clip = (
        optax.identity()
        if config.clip_norm is None
        else optax.clip_by_global_norm(config.clip_norm)
    )
    direction = optax.scale_by_adam(b1=config.b1, b2=config.b2)
    if config.muon_rms:
        rules = {"hidden": _muon(config.muon_rms), "other": direction}
        direction = optax.partition(rules, _which_are_hidden)
    return optax.chain(
        clip,
        direction,
        optax.add_decayed_weights(config.weight_decay),
        optax.partition(scales | {"the rest": optax.identity()}, group_of),
        optax.scale_by_learning_rate(lambda step: learning_rate_at(config, step)),
    )


def init_state(
    key: jax.Array,
    method: types.Method,
    example: types.Batch,
    optimizer: optax.GradientTransformation,
) -> TrainState:
    """Returns the state before the first step. It may be called under `jit`.

    Args:
      key: typed key[].
      method: whose parameters are made.
      example: one example, a `Batch` without its leading axis.
      optimizer: from `make_optimizer`.

    Raises:
      InputError: the parameters have no group "policy".
    """
    key_init, key_train = jax.random.split(key)
    params = method.init(key_init, example)
    if "policy" not in params:
        raise types.InputError(
            "A method's parameters need a group 'policy', but the groups are "
            f"{', '.join(map(repr, sorted(params)))}."
        )
    return TrainState(
        step=jnp.int32(0),
        params=params,
        # A copy: the state is donated, and no buffer can be donated twice.
        ema_params=jax.tree.map(jnp.copy, params["policy"]),
        opt_state=optimizer.init(params),
        key=key_train,
    )


def make_train_step(
    method: types.Method,
    optimizer: optax.GradientTransformation,
    config: OptimizerConfig,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """Returns `train_step(state, batch, all_sum) -> (state, metrics)`.

    `batch` holds all examples of the step, or one device's share of them if
    `all_sum` sums a tree over the devices. Sums and counts are reduced and then
    divided; clipping and the update come after that, so that every device makes
    the same update. The randomness of an example depends on the state's key, the
    step and `batch.index` alone. `metrics` are float32[]: the means of the method's
    info, "loss", "grad_norm" (before clipping) and "learning_rate".
    """

    def train_step(state, batch, all_sum=lambda tree: tree):
        chex.assert_rank([batch.tokens, batch.length, batch.index], [2, 1, 1])
        key_step = jax.random.fold_in(state.key, state.step)
        keys = jax.vmap(lambda index: jax.random.fold_in(key_step, index))(batch.index)

        def sum_of_losses(params):
            loss, info = jax.vmap(method.loss, in_axes=(None, 0, 0, None))(
                params, batch, keys, state.step
            )
            terms = dict(info, loss=loss)
            chex.assert_rank(list(terms.values()), 1)
            sums = {name: jnp.sum(x, dtype=jnp.float32) for name, x in terms.items()}
            return sums["loss"], sums

        grads, sums = jax.grad(sum_of_losses, has_aux=True)(state.params)
        count = jnp.float32(batch.index.shape[0])
        grads, sums, count = all_sum((grads, sums, count))
        grads, metrics = jax.tree.map(lambda x: x / count, (grads, sums))

        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        step = state.step + 1
        new_state = TrainState(
            step=step,
            params=params,
            ema_params=_averaged(state.ema_params, params["policy"], step, config),
            opt_state=opt_state,
            key=state.key,
        )
        metrics["grad_norm"] = optax.tree.norm(grads)
        metrics["learning_rate"] = learning_rate_at(config, state.step)
        return new_state, metrics

    return train_step


def _averaged(average, params, step, config):
    """The moving average after the update that made `params` at count `step`."""
    started = step > config.ema_start_step

    def leaf(old, new):
        mean = config.ema_decay * old + (1.0 - config.ema_decay) * new
        return jnp.where(started, mean, new).astype(new.dtype)

    return jax.tree.map(leaf, average, params)
