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
"""

import json

import jax
import jax.numpy as jnp
import measure
import numpy as np
import optax
from absl import app, flags
from ml_collections import config_flags

from insertion_jax import build
from insertion_jax.core import permutations, trajectories
from insertion_jax.tasks.star_graph_places import junction
from insertion_jax.training import state

_CONFIG = config_flags.DEFINE_config_file("config", None, "Of a learned order.")
_UPDATES = flags.DEFINE_integer("updates", 1_000, "Of the posterior.", lower_bound=1)
_EVERY = 200  # updates between two looks at the validation graphs


def main(argv):
    del argv
    config = _CONFIG.value
    if config.method.get("order") != "learned" or config.task.name != "star_graphs":
        raise app.UsageError("--config must be of star graphs and a learned order.")
    config.train.update(num_steps=_UPDATES.value, chunk=1)
    config.optim.warmup_steps = min(config.optim.warmup_steps, _UPDATES.value // 5)
    config.optim.group_scale.order = 1.0  # a teacher's targets are no noisy ones
    task, examples, first, _ = measure.training(config)
    method = build.method(config, task)
    optimizer = state.make_optimizer(build.optimizer_config(config))
    held_out = task.load("validation")
    before = np.array([edges_before(row) for row in zip(*held_out, strict=True)])

    def score(params, example):
        """Negative log-likelihood of the order, and whether none is more probable."""
        mask = trajectories.missing_positions(len(example.tokens), example.length, None)
        logits = method.log_rates(params, example)["insertion"]
        rank = jnp.where(mask, task.order_rank(example), jnp.inf)
        order = jnp.argsort(rank, stable=True)
        likeliest = jnp.argsort(jnp.where(mask, -logits, jnp.inf), stable=True)
        log_prob = permutations.plackett_luce_log_prob(logits, order, mask)
        return -log_prob, (order == likeliest).all()

    scores = jax.jit(jax.vmap(score, (None, 0)))

    @jax.jit
    def update(params, moments, batch):
        loss = lambda params: scores(params, batch)[0].mean()
        gradient = jax.grad(loss)(params)
        change, moments = optimizer.update(gradient, moments, params)
        return optax.apply_updates(params, change), moments

    params, moments = first.params, optimizer.init(first.params)
    rng = np.random.default_rng(config.train.seed)
    rows = []
    for step in range(1, _UPDATES.value + 1):
        drawn = rng.integers(len(examples.length), size=config.train.batch_size)
        batch = jax.tree.map(lambda x, drawn=drawn: x[drawn], examples)
        params, moments = update(params, moments, batch)
        if step % _EVERY == 0 or step == _UPDATES.value:
            nats, right = map(np.asarray, scores(params, held_out))
            row = {"updates": step, "nats": float(nats.mean())}
            for name, chosen in (
                ("0 or 1 edge", before < 2),
                ("more", before > 1),
                ("all", before >= 0),
            ):
                if chosen.any():
                    row[f"right, {name}"] = float(right[chosen].mean())
            rows.append(row)
            print(json.dumps(row), flush=True)
    measure.show(rows)


def edges_before(row):
    """Number of edges from the source to the junction, of one example."""
    prompt, mask, tokens = (np.asarray(part) for part in row[:3])
    *edges, _ = prompt[mask].reshape(-1, 2).tolist()
    return (tokens.tolist().index(junction(edges)) + 1) // 2


if __name__ == "__main__":
    app.run(main)
