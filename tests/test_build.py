"""Configs that do not fit, answered with one sentence."""

import pytest
import shipped
from ml_collections import ConfigDict

from insertion_jax import build
from insertion_jax.types import InputError


def smoke(**changes):
    return shipped.star_graphs("tier=tiny,size=smoke", **changes)


def with_field(section, field):
    config = smoke()
    with config.unlocked():
        config[section][field] = 1
    return config


def without(section, field=None):
    config = smoke()
    with config.unlocked():
        if field is None:
            del config[section]
        else:
            del config[section][field]
    return config


def everything(config):
    task = build.task(config)
    build.method(config, task)
    build.optimizer_config(config)
    build.loop_config(config)
    build.place(config)


def test_builds_what_the_config_says():
    config = smoke(train__seed=5, optim__b1=0.5, train__placement="sharded")
    everything(config)
    assert build.loop_config(config).seed == 5
    assert build.optimizer_config(config).b1 == 0.5
    assert build.optimizer_config(config).total_steps == config.train.num_steps
    assert build.place(config).name == "sharded"
    task = build.task(config)
    assert len(task.load("test").length) == config.task.num_test


@pytest.mark.parametrize(
    ("section", "known"),
    [
        ("task", "num_test, num_train, num_validation, tier"),
        ("method", "bound_samples, .*, termination"),
        ("network", "counts, dropout, .*, width"),
        ("order_network", "counts, dropout, .*, width"),
        ("optim", "b1, .*, weight_decay"),
        ("train", "batch_size, .*, seed"),
    ],
)
def test_unknown_field(section, known):
    sentence = rf"^{section}\.nonsense is not a setting; {section} has {known}\.$"
    with pytest.raises(InputError, match=sentence):
        everything(with_field(section, "nonsense"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"task__name": "mazez"},
            "task.name is 'mazez'; allowed are fragments, linkers, mazes, molec",
        ),
        (
            {"network__kind": "x"},
            "network.kind is 'x'; allowed are canvas, trajectory.",
        ),
        (
            {"network__prompt_sees_canvas": True, "network__kind": "trajectory"},
            "network.prompt_sees_canvas is True, but a trajectory network encodes",
        ),
        (
            {"network__embedding_scale": 0.0},
            "In section 'network': embedding_scale is 0.0, but must be positive.",
        ),
        (
            {"method__name": "x"},
            "method.name is 'x'; allowed are flexmdm, insertion_proc",
        ),
        (
            {"method__order": "task", "method__order_steps": 99},
            "method.order_steps is 99, but training ends at step 20; the order would",
        ),
        ({"train__placement": "x"}, "placement is 'x'; allowed are pmap, sharded."),
        ({"network__dtype": "x"}, "In section 'network': dtype must be 'float32', 'bf"),
        ({"optim__ema_decay": 1.0}, "In section 'optim': ema_decay is 1.0; allowed"),
    ],
)
def test_value_that_is_not_allowed(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        everything(smoke(**changes))


@pytest.mark.parametrize(
    "section", ["task", "method", "network", "order_network", "optim", "train"]
)
def test_missing_section(section):
    with pytest.raises(
        InputError, match=f"^The config lacks the section '{section}'.$"
    ):
        everything(without(section))


def test_missing_field():
    with pytest.raises(InputError, match="In section 'train': .* 'num_steps'"):
        everything(without("train", "num_steps"))
    with pytest.raises(
        InputError, match="task.name is None; allowed are fragments, link"
    ):
        everything(without("task", "name"))


def test_a_config_of_an_older_file_uses_defaults():
    config = without("network", "rope_base")
    with config.unlocked():
        del config.network["kind"]
        del config.network["embedding_scale"]
        del config.train["placement"]
        del config.train["fsdp"]
    everything(config)
    assert build.place(config).name == "pmap"


def test_an_empty_config():
    with pytest.raises(InputError, match="lacks the section 'task'"):
        everything(ConfigDict())


def test_problems_can_be_asked_more_often():
    config = shipped.config("linkers")
    build.ask_each(config, 50)
    assert config.task.samples_per_pair == 50
    with config.unlocked():
        del config.task.samples_per_pair
    build.ask_each(config, 60)
    assert config.task.samples_per_pair == 60
    config = shipped.config("fragments")
    build.ask_each(config, 7)
    assert config.task.samples_per_fragment == 7


def test_tasks_of_one_answer_are_asked_once():
    config = smoke()
    before = config.to_json()
    with pytest.raises(
        InputError, match="--samples_per_problem is .* star_graphs asks"
    ):
        build.ask_each(config, 2)
    assert config.to_json() == before
