"""Configs of FlexMDM and LoFlexMDM: they load, fit, and are refused in a sentence."""

import itertools

import jax
import numpy as np
import pytest
import shipped

from insertion_jax import build
from insertion_jax.training import state
from insertion_jax.types import InputError

FEW = {"task__num_train": 8, "task__num_validation": 2, "task__num_test": 2}
GROUPS = {"flexmdm": {"policy"}, "loflexmdm": {"policy", "order"}}


def _groups(config):
    """The parameter groups, as a run would make them."""
    task = build.task(config)
    method = build.method(config, task)
    optimizer = state.make_optimizer(build.optimizer_config(config))
    example = jax.tree.map(lambda x: np.asarray(x[0]), task.load("train"))
    init = lambda: state.init_state(jax.random.key(0), method, example, optimizer)
    return jax.eval_shape(init).params


@pytest.mark.parametrize(
    ("tier", "method", "size"),
    [*itertools.product(("tiny", "hard"), GROUPS, ("cpu", "paper", "smoke"))],
)
def test_star_graphs(tier, method, size):
    config = shipped.star_graphs(f"tier={tier},method={method},size={size}", **FEW)
    assert set(_groups(config)) == GROUPS[method]
    build.place(config).check_batch_size(build.loop_config(config).batch_size)
    if size == "cpu":
        assert config.method.num_samples * config.method.num_times == 4


@pytest.mark.parametrize("shares_trunk", [False, True])
def test_a_shared_trunk(shares_trunk):
    config = shipped.star_graphs("method=loflexmdm", **FEW)
    config.order_network.shares_trunk = shares_trunk
    params = _groups(config)
    assert ("trunk" in params["order"]) == (not shares_trunk)
    task = build.task(config)
    example = jax.tree.map(lambda x: np.asarray(x[0]), task.load("train"))
    loss = build.method(config, task).loss
    value, _ = jax.eval_shape(loss, params, example, jax.random.key(0), 0)
    assert value.shape == ()


@pytest.mark.parametrize(
    ("method", "section", "field", "value", "sentence"),
    [
        (
            "flexmdm",
            "method",
            "insert_schedule",
            "x",
            "In section 'method': insert_sch",
        ),
        ("flexmdm", "method", "insert_parameters", (1.0,), "In section 'method': "),
        ("loflexmdm", "method", "shape", -1.0, "In section 'method': shape is -1.0"),
        ("loflexmdm", "method", "num_samples", 1, "need num_samples of at least 2"),
        ("flexmdm", "network", "nonsense", 1, "network.nonsense is not a setting"),
        ("flexmdm", "method", "nonsense", 1, "method.nonsense is not a setting"),
        ("loflexmdm", "order_network", "nonsense", 1, "order_network.nonsense is not"),
    ],
)
def test_value_that_is_not_allowed(method, section, field, value, sentence):
    config = shipped.star_graphs(f"method={method}")
    with config.unlocked():
        config[section][field] = value
    with pytest.raises(InputError, match=sentence):
        build.method(config, build.task(config))


@pytest.mark.parametrize("section", ["network", "order_network"])
def test_rates_that_are_not_allowed(section):
    config = shipped.star_graphs("method=loflexmdm")
    config[section].rates.function = "relu"
    sentence = f"In section '{section}.rates': The rates' function is 'relu'"
    with pytest.raises(InputError, match=sentence):
        build.method(config, build.task(config))


@pytest.mark.parametrize("choice", ["order=learned", "network=canvas"])
def test_choices_of_another_method(choice):
    name = choice.split("=")[0]
    with pytest.raises(ValueError, match=f"^{name} is a choice of insertion_process"):
        shipped.star_graphs(f"method=flexmdm,{choice}")
