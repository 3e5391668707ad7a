"""Configs of molecules and linkers: they load, fit, and are refused in a sentence."""

import itertools
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest
import shipped

from insertion_jax import build
from insertion_jax.sampling import SamplingOptions
from insertion_jax.training import state

# As if a model had been trained, so that no data are read.
SETTLED = {"task__vocabulary": "C N O ( ) = 1 c n [nH] .", "task__max_length": 12}
SIZES = ("cpu", "moses", "paper", "smoke")
CHOICES = [
    *(
        f"order={order},network={network},termination={end},size={size}"
        for order, network, end, size in itertools.product(
            ("learned", "uniform", "left_to_right"),
            ("trajectory", "canvas"),
            ("policy", "eos"),
            ("cpu", "smoke"),
        )
        if order == "learned" or size == "smoke"
    ),
    *(f"size={size},dataset=moses" for size in SIZES),
    *(
        f"method={method},size={size},representation=safe"
        for method, size in itertools.product(("flexmdm", "loflexmdm"), SIZES)
    ),
]


def groups(config):
    """The parameter groups, as a run would make them."""
    task = build.task(config)
    method = build.method(config, task)
    optimizer = state.make_optimizer(build.optimizer_config(config))
    batch = (
        task.parse_prompt("c1ccccc1[*:1].C[*:2]") if not task.blank else task.blank(1)
    )
    example = jax.tree.map(lambda x: np.asarray(x[0]), batch)
    init = lambda: state.init_state(jax.random.key(0), method, example, optimizer)
    return set(jax.eval_shape(init).params)


def check(config):
    learned = config.method.get("order") == "learned"
    learned |= config.method.name == "loflexmdm"
    assert groups(config) == ({"policy", "order"} if learned else {"policy"})
    build.place(config).check_batch_size(build.loop_config(config).batch_size)
    assert set(config.sample) == {*SamplingOptions._fields, "num_pictures"}
    assert not config.sample.greedy and config.sample.temperature == 1


@pytest.mark.parametrize("argument", CHOICES)
def test_molecules(argument):
    check(shipped.config("molecules", argument, **SETTLED))


@pytest.mark.parametrize("argument", ["", "size=smoke,order=uniform", "size=moses"])
def test_linkers(argument):
    settled = SETTLED | {"task__max_length": 30}
    config = shipped.config("linkers", argument, **settled)
    check(config)
    # Both ends of the string are taken.
    assert config.method.termination == "policy"
    # No linker is empty.
    assert config.method.min_insertions == 1


@pytest.mark.parametrize(
    "argument",
    ["", "size=smoke,termination=eos", "size=moses,method=flexmdm", "size=paper"],
)
def test_fragments(argument):
    tokens = SETTLED["task__vocabulary"] + " <1> <2>"
    config = shipped.config(
        "fragments", argument, task__vocabulary=tokens, task__max_length=30
    )
    check(config)
    assert config.method.get("min_insertions", 1) == 1


def test_the_paper():
    config = shipped.config("molecules", "size=paper")
    assert config.network.num_layers == 18
    assert config.order_network.num_layers == 3
    assert config.optim.learning_rate == 5e-4
    assert config.optim.group_scale.order * config.optim.learning_rate == 5e-6
    assert config.optim.ema_decay == 0.9999
    assert (config.network.kind, config.method.termination) == ("canvas", "eos")
    # Said otherwise, it is otherwise.
    other = shipped.config("molecules", "termination=policy,size=paper")
    assert (other.network.kind, other.method.termination) == ("canvas", "policy")


def test_a_file_of_ones_own(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = shipped.config("molecules", "dataset=mine.smi")
    assert config.task.source == str(tmp_path / "mine.smi")
    config = shipped.config("linkers", "test_file=pairs.csv,dataset=moses")
    assert config.task.test_file == str(tmp_path / "pairs.csv")
    config = shipped.config("fragments", "test_file=drugs.csv,dataset=mine.smi")
    assert config.task.test_file == str(tmp_path / "drugs.csv")
    assert (config.task.samples_per_fragment, config.task.max_length) == (100, 100)
    # All that is asked for is sampled, and has no answer to bound.
    assert config.evaluate.num_bounds == 0 and config.evaluate.num_examples >= 4_000
    config = shipped.config("linkers", "test_file=pairs.csv,dataset=moses")
    assert config.task.source == "moses"


def test_where_data_are(monkeypatch):
    monkeypatch.delenv("INSERTION_JAX_DATA", raising=False)
    assert shipped.config("molecules").task.data_dir == "data"
    monkeypatch.setenv("INSERTION_JAX_DATA", "/elsewhere")
    assert shipped.config("linkers").task.data_dir == "/elsewhere"


@pytest.mark.parametrize(
    ("file", "argument", "sentence"),
    [
        ("molecules", "set=moses", "no choice 'set'; it has dataset, representation, "),
        ("molecules", "size=huge", "size is 'huge' .* allowed are cpu, moses, paper, "),
        ("molecules", "dataset=", "dataset is empty .* rdkit, moses or the path"),
        (
            "molecules",
            "method=flexmdm,termination=eos",
            "termination is a choice of ins",
        ),
        ("linkers", "termination=eos", "no choice 'termination'; it has dataset, "),
    ],
)
def test_choices_that_do_not_exist(file, argument, sentence):
    with pytest.raises(ValueError, match=sentence):
        shipped.config(file, argument)


def test_plans_do_not_wait_for_rdkit():
    code = """
        import sys
        from insertion_jax import build, main
        import shipped
        config = shipped.star_graphs("size=smoke")
        build.method(config, build.task(config))
        assert build.fetch(config) == []
        assert "rdkit" not in sys.modules
        config = shipped.config("molecules", task__vocabulary="C", task__max_length=2)
        build.task(config)
        assert "rdkit" in sys.modules
    """
    tests = shipped.REPOSITORY / "tests"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tests,
        env={"PYTHONPATH": f"{shipped.REPOSITORY}:{tests}", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_cpu_has_the_network_that_learns_an_order_fastest():
    kind_of = lambda argument: shipped.config("molecules", argument).network.kind
    assert kind_of("order=learned") == kind_of("order=left_to_right") == "trajectory"
    assert kind_of("order=uniform,network=trajectory") == "trajectory"
    config = shipped.config("molecules", "order=uniform")
    assert config.network.kind == "canvas"
    assert config.method.num_steps == config.method.num_widths == 4
    config = shipped.config("molecules", "order=learned")
    assert (config.method.num_steps, config.method.num_widths) == (16, 1)
    assert config.order_network.initial_slope == 2.0
