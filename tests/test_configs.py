"""Every choice of every config loads, and its parts go together."""

import itertools

import jax
import numpy as np
import pytest
import shipped

from insertion_jax import build
from insertion_jax.sampling import SamplingOptions
from insertion_jax.tasks.star_graph_generator import TIERS
from insertion_jax.training import state

ORDERS = ("learned", "uniform", "left_to_right", "task")
SIZES = ("cpu", "paper", "smoke")
NETWORKS = ("canvas", "trajectory")
FEW = {"task__num_train": 8, "task__num_validation": 2, "task__num_test": 2}


def parts_of(config):
    """The training examples, `init() -> state` and the train step."""
    task = build.task(config)
    method = build.method(config, task)
    optimizer_config = build.optimizer_config(config)
    optimizer = state.make_optimizer(optimizer_config)
    examples = task.load("train")

    def init():
        example = jax.tree.map(lambda x: np.asarray(x[0]), examples)
        return state.init_state(jax.random.key(0), method, example, optimizer)

    return (
        examples,
        init,
        state.make_train_step(method, optimizer, optimizer_config),
    )


# Every tier, order and size with both networks, which do not care about the tier.
CHOICES = [
    f"tier={tier},order={order},size={size},network={network}"
    for tier, order, size, network in itertools.product(TIERS, ORDERS, SIZES, NETWORKS)
    if tier == "tiny" or network == "canvas"
]


@pytest.mark.parametrize("argument", CHOICES)
def test_star_graphs(argument):
    config = shipped.star_graphs(argument, **FEW)
    chosen = dict(part.split("=") for part in argument.split(","))
    tier, order = chosen["tier"], chosen["order"]
    assert config.network.kind == chosen["network"]
    examples, init, _ = parts_of(config)
    assert examples.tokens.shape == (8, TIERS[tier].max_length)
    groups = {"policy", "order"} if order == "learned" else {"policy"}
    assert set(jax.eval_shape(init).params) == groups
    # It runs as it is on one device and on eight.
    build.place(config).check_batch_size(build.loop_config(config).batch_size)
    # `build` refuses unknown fields of the other sections.
    assert set(config.sample) == {*SamplingOptions._fields, "num_pictures"}
    assert set(config.evaluate) == {
        "num_examples",
        "num_bounds",
        "num_validation",
        "num_validation_bounds",
        "batch_size",
    }


def test_defaults():
    assert shipped.star_graphs() == shipped.star_graphs(
        "size=cpu,order=learned,method=insertion_process,tier=tiny,network=canvas"
    )


def test_a_trajectory_network_takes_every_step():
    config = shipped.star_graphs("network=trajectory")
    assert config.method.num_steps == 0
    assert shipped.star_graphs("network=canvas").method.num_steps > 0


def test_the_hard_tier_at_full_size_is_the_papers():
    config = shipped.star_graphs("tier=hard,size=paper")
    network, order_network = config.network, config.order_network
    assert (network.num_layers, network.width, network.num_heads) == (12, 128, 8)
    assert (order_network.num_layers, order_network.width) == (6, 64)
    assert (config.train.num_steps, config.train.batch_size) == (78_100, 64)
    assert (network.kind, config.method.num_steps) == ("canvas", 1)
    assert network.prompt_sees_canvas
    assert not network.neighbours
    assert not network.prompt_positions


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_a_train_step_at_full_size(order):
    config = shipped.star_graphs(f"tier=hard,size=paper,order={order}", **FEW)
    examples, init, train_step = parts_of(config)
    batch = jax.tree.map(lambda x: x[:2], examples)
    before = jax.jit(init)()
    after, metrics = jax.jit(train_step)(before, batch)
    assert int(after.step) == 1
    for name, value in metrics.items():
        assert np.isfinite(value), name
    assert metrics["grad_norm"] > 0
