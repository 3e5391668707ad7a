"""Whether a posterior network can tell the order in which every step is forced.

    python benchmarks/plan_posterior.py --config=configs/star_graphs.py:tier=hard \\
        --config.order_network.counts=true

An order that is learned by the ELBO may miss a better one because the posterior cannot
express it. Here the config's posterior network is trained by likelihood instead, on the
order that the task prescribes: back from the goal to the junction, then on from the
source. This shows what the network can learn with a teacher, not what it finds alone.
Prints, as it goes, the negative log-likelihood of that order in nats and the share of
validation graphs whose most probable order it is, by the number of edges from the
source to the junction; then a line of JSON. With at most one edge before the junction
that order is the plain backward one.

    python benchmarks/plan_posterior.py --config=... --policy=RUN --joint=2000

then trains the ELBO as the config says, from that posterior and the policy (the average)
of a run whose `network` is the config's: is a taught order kept? With --updates=0 the
posterior begins untaught, at the uniform order. "Straight back" is the share of graphs
whose most probable order is the plain backward one, of those with more than one edge
before the junction; at the end the validation graphs are evaluated, greedily, with the
averaged policy. --config.train.seed seeds all randomness; both phases draw the same
batches.
"""

import copy
import json

import jax
import jax.numpy as jnp
import measure
import numpy as np
import optax
from absl import app, flags
from ml_collections import config_flags

from insertion_jax import build, evaluation, runs, sampling
from insertion_jax.core import permutations, trajectories
from insertion_jax.tasks.star_graph_places import edges_before_junction
from insertion_jax.training import checkpoint, state

_CONFIG = config_flags.DEFINE_config_file("config", None, "Of a learned order.")
_UPDATES = flags.DEFINE_integer("updates", 1_000, "With a teacher.", lower_bound=0)
_POLICY = flags.DEFINE_string("policy", None, "Run whose policy begins --joint.")
_JOINT = flags.DEFINE_integer("joint", 0, "Updates by the ELBO.", lower_bound=0)
_EVERY = 200  # updates between two looks at the validation graphs


def main(argv):
    del argv
    config = _CONFIG.value
    if config.method.get("order") != "learned" or config.task.name != "star_graphs":
        raise app.UsageError("--config must be of star graphs and a learned order.")
    if bool(_JOINT.value) != bool(_POLICY.value) or not _UPDATES.value + _JOINT.value:
        raise app.UsageError(
            "--joint and --policy go together, and without them --updates is more than 0."
        )
    config.train.chunk = 1
    task, examples, first, _ = measure.training(config)
    method = build.method(config, task)
    held_out = task.load("validation")
    before = edges_before_junction(held_out)

    def score(params, example):
        """The order's negative log-likelihood; whether it, or back, is the likeliest."""
        mask = trajectories.missing_positions(len(example.tokens), example.length, None)
        logits = method.log_rates(params, example)["insertion"]
        rank = jnp.where(mask, task.order_rank(example), jnp.inf)
        order = jnp.argsort(rank, stable=True)
        likeliest = jnp.argsort(jnp.where(mask, -logits, jnp.inf), stable=True)
        back = jnp.argsort(
            jnp.where(mask, -jnp.arange(len(mask)), jnp.inf), stable=True
        )
        log_prob = permutations.plackett_luce_log_prob(logits, order, mask)
        return -log_prob, (order == likeliest).all(), (back == likeliest).all()

    scores = jax.jit(jax.vmap(score, (None, 0)))

    def row(phase, step, params):
        nats, right, back = map(np.asarray, scores(params, held_out))
        made = {"phase": phase, "updates": step, "nats": float(nats.mean())}
        for name, chosen in (
            ("0 or 1 edge", before < 2),
            ("more", before > 1),
            ("all", before >= 0),
        ):
            if chosen.any():
                made[f"right, {name}"] = float(right[chosen].mean())
        if (before > 1).any():
            made["straight back"] = float(back[before > 1].mean())
        return made

    rows, found = [], {}
    params = first.params
    for step, params in _taught(config, first.params, examples, scores):
        rows.append(row("taught", step, params) | {"elbo": None})
        print(json.dumps(rows[-1]), flush=True)
    if _JOINT.value:
        policy = checkpoint.read_params(_POLICY.value)[0]["policy"]
        begun = {**params, "policy": policy}
        for current, elbo in _joint(config, method, begun, examples):
            rows.append(
                row("joint", int(current.step), current.params) | {"elbo": elbo}
            )
            print(json.dumps(rows[-1]), flush=True)
        evaluate = evaluation.make_evaluation(
            task,
            method,
            "validation",
            num_examples=len(before),
            num_bounds=config.evaluate.num_bounds,
            batch_size=config.evaluate.batch_size,
            options=sampling.SamplingOptions(greedy=True),
        )
        averaged = {**current.params, "policy": current.ema_params}
        found = {k: evaluation.as_json(v) for k, v in evaluate(averaged).items()}
    measure.show(rows, evaluated=found, made_by=runs.provenance())


def _taught(config, params, examples, scores):
    """Trains the posterior by likelihood; yields `(updates, params)` now and then."""
    if not _UPDATES.value:
        return
    _, optimizer = _optimizer(config, _UPDATES.value, order_scale=1.0)
    rng = np.random.default_rng(config.train.seed)

    @jax.jit
    def update(params, moments, batch):
        gradient = jax.grad(lambda params: scores(params, batch)[0].mean())(params)
        change, moments = optimizer.update(gradient, moments, params)
        return optax.apply_updates(params, change), moments

    moments = optimizer.init(params)
    for step in range(1, _UPDATES.value + 1):
        batch = _drawn(config, examples, rng)
        params, moments = update(params, moments, batch)
        if step % _EVERY == 0 or step == _UPDATES.value:
            yield step, params


def _joint(config, method, params, examples):
    """Trains both networks; yields `(TrainState, ELBO since the last one)`."""
    rng = np.random.default_rng(config.train.seed)
    settings, optimizer = _optimizer(config, _JOINT.value)
    train_step = jax.jit(state.make_train_step(method, optimizer, settings))
    current = state.TrainState(
        step=jnp.int32(0),
        params=params,
        ema_params=params["policy"],
        opt_state=optimizer.init(params),
        key=jax.random.key(config.train.seed),
    )
    bounds = []
    for step in range(1, _JOINT.value + 1):
        current, metrics = train_step(current, _drawn(config, examples, rng))
        bounds.append(float(metrics["elbo"]))
        if step % _EVERY == 0 or step == _JOINT.value:
            yield current, float(np.mean(bounds))
            bounds = []


def _optimizer(config, num_steps, order_scale=None):
    """The config's over `num_steps`, warmed up in at most a fifth of them."""
    config = copy.deepcopy(config)
    config.train.num_steps = num_steps
    config.optim.warmup_steps = min(config.optim.warmup_steps, num_steps // 5)
    if order_scale is not None:
        config.optim.group_scale.order = order_scale  # a teacher's targets are no noise
    settings = build.optimizer_config(config)
    return settings, state.make_optimizer(settings)


def _drawn(config, examples, rng):
    rows = rng.integers(len(examples.length), size=config.train.batch_size)
    return jax.tree.map(lambda x: x[rows], examples)


if __name__ == "__main__":
    app.run(main)
