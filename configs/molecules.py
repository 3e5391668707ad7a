"""Molecules as strings: train on real ones, write new ones.

    python -m insertion_jax.main --mode=prepare --config=configs/molecules.py:dataset=moses
    python -m insertion_jax.main --mode=train --workdir=DIR \\
        --config=configs/molecules.py:dataset=moses,order=uniform,size=cpu

The argument after the colon picks, in any order:

    dataset         rdkit (default): 10,000 molecules that come with rdkit; moses: the
                    1.6 million of MOSES, fetched by --mode=prepare; or FILE: molecules
                    of your own, a SMILES a line or a .csv with a column smiles; no comma
                    in its name
    representation  smiles (default), safe
    termination     policy (default but for paper): a stop outcome; eos: a token
    size            cpu (default), moses, paper, smoke

and `method`, `order`, `network` of configs/star_graphs.py. Here `network` is `trajectory`
unless said otherwise, but for the uniform order and for `paper`, where it is `canvas`.

`cpu` is sized for an hour of one core with MOSES, and for a quarter of it with less; its
learned order starts from a soft left-to-right order (`order_network.initial_slope`).
`moses` is for an accelerator. `paper` has what Zhang et al. (arXiv 2606.02133) say of
their GuacaMol model, 18 layers, a posterior of 3, learning rates of 5e-4 and 5e-6, an
average of 0.9999 and EOS; widths, batch and length of training are not published and are
ours. `smoke` is nearly all compilation and learns nothing. RESULTS.md has what `cpu`
reaches; nothing of `moses` and `paper` has been trained yet.
"""

import os
import pathlib
import runpy

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

_STAR_GRAPHS = runpy.run_path(str(pathlib.Path(__file__).with_name("star_graphs.py")))

DATASETS = ("rdkit", "moses")
_CHOICES = {
    "representation": ("smiles", "safe"),
    "method": _STAR_GRAPHS["_CHOICES"]["method"],
    "order": _STAR_GRAPHS["_ORDERS"],
    "network": ("trajectory", "canvas"),
    "termination": ("policy", "eos"),
    "size": ("cpu", "moses", "paper", "smoke"),
}
_OF_INSERTION = ("order", "network", "termination")

# Updates of size cpu in an hour of one core with MOSES, compilation and validation
# included, the other core busy. The last two are from seconds an update alone.
_STEPS_AN_HOUR = {
    "trajectory, learned order": 4_500,
    "trajectory, fixed order": 8_500,
    "canvas, learned order": 5_500,
    "canvas, fixed order": 6_000,
    "flexmdm": 2_000,
    "loflexmdm": 2_500,
}


def get_config(argument: str = "") -> ConfigDict:
    """The config for a choice such as "dataset=moses,order=uniform"."""
    chosen = parse(argument, {"dataset": DATASETS, **_CHOICES}, files=("dataset",))
    if chosen["order"] == "uniform" and "network=" not in argument:
        chosen["network"] = "canvas"  # learns such orders faster, RESULTS.md
    config = model_config(chosen)
    dataset, size = chosen["dataset"], chosen["size"]

    config.task = ConfigDict()
    config.task.name = "molecules"
    config.task.source = dataset  # rdkit, moses, or the path of a file
    config.task.notation = chosen["representation"]  # smiles, safe
    config.task.num_train = placeholder(int)  # molecules to train on; none: all
    config.task.num_held_out = placeholder(int)  # in validation; none: a tenth
    config.task.max_length = placeholder(
        int
    )  # tokens; none: as many as the longest has
    config.task.vocabulary = placeholder(str)  # content tokens; none: those of the data
    config.task.seed = 2025  # of the splits; train.seed is another
    config.task.data_dir = data_dir()  # of what was fetched and prepared
    if size == "smoke":
        config.task.update(num_train=500, num_held_out=50)
    elif dataset not in DATASETS or size == "paper":
        config.task.max_length = 100
    elif size == "cpu" and (dataset, chosen["representation"]) == ("moses", "smiles"):
        config.task.max_length = 48  # all but 1 in 2,000
    if size == "cpu" and config.method.name == "insertion_process":
        _long_orders(config)
    return config


def _long_orders(config):
    """What pays where an order has some 40 steps; RESULTS.md says by how much."""
    if config.network.kind == "trajectory":
        config.method.num_steps = 16  # of them teach as much as all
    else:
        config.method.num_widths = config.method.num_steps
    if config.method.order == "learned":
        config.order_network.initial_slope = 2.0


def data_dir() -> str:
    """Where data lie on this machine."""
    return os.environ.get("INSERTION_JAX_DATA", "data")


def parse(
    argument: str, choices: dict[str, tuple[str, ...]], files: tuple[str, ...]
) -> dict[str, str]:
    """What was chosen, the first of its values where nothing was.

    Args:
      argument: "name=value,...".
      choices: the values that each name allows.
      files: names that take the path of a file.
    """
    given = _STAR_GRAPHS["parse"](argument, choices, files)
    _STAR_GRAPHS["check_insertion_only"](given, _OF_INSERTION)
    chosen = {name: values[0] for name, values in choices.items()} | given
    if chosen["size"] == "paper":
        for name, value in (("network", "canvas"), ("termination", "eos")):
            if name in choices and name not in given:
                chosen[name] = value
    return chosen


def model_config(chosen: dict[str, str]) -> ConfigDict:
    """All sections but `task`, which is another task's."""
    names = ["method"]
    if chosen["method"] == "insertion_process":
        names += ["order", "network"]
    size = "smoke" if chosen["size"] == "smoke" else "paper"
    argument = ",".join(f"{name}={chosen[name]}" for name in names)
    config = _STAR_GRAPHS["get_config"](f"{argument},size={size}")
    if chosen["method"] == "insertion_process":
        config.method.termination = chosen.get("termination", "policy")
    config.network.update(prompt_sees_canvas=False, prompt_positions=False)
    config.order_network.prompt_positions = False
    config.sample.update(greedy=False, temperature=1.0, num_pictures=9)
    config.optim.clip_norm = 1.0
    # Molecules differ in length: pad to a few widths, not to the longest.
    config.train.max_padding = 0.15
    {"cpu": _cpu, "moses": _moses, "paper": _paper, "smoke": _smoke}[chosen["size"]](
        config, chosen["dataset"]
    )
    return config


def _cpu(config, dataset):
    method = config.method
    trunk = {"mlp_ratio": 2.0, "dropout": 0.0, "dtype": "float32", "neighbours": True}
    config.network.update(num_layers=4, num_heads=4, width=128, **trunk)
    config.order_network.update(num_layers=2, num_heads=2, width=64, **trunk)
    config.optim.update(learning_rate=2e-3, warmup_steps=200, ema_decay=0.995)
    if method.name != "insertion_process":
        method.num_times = 4 // method.num_samples
        method.sampler_steps = 128
        method.bound_samples = 16
    else:
        # Only a learned order has to look at one step twice, to compare.
        method.num_samples = 2 if method.order == "learned" else 1
        method.bound_samples = 4
        if config.network.kind == "trajectory":
            config.network.embedding_scale = 1.0
            config.order_network.embedding_scale = 1.0
        else:
            method.num_steps = 4 // method.num_samples
    steps = _STEPS_AN_HOUR[_kind(config)]
    config.train.update(
        num_steps=steps if dataset == "moses" else steps // 4,
        batch_size=32,
        chunk=5,
        # Few in a row of one width, lest the model unlearn the other lengths.
        bucket_steps=5,
        log_every=50,
        eval_every=500,
        checkpoint_every=250,
    )
    config.evaluate.update(
        num_examples=1_000,
        num_bounds=256,
        num_validation=128,
        num_validation_bounds=64,
        batch_size=128,
    )


def _kind(config):
    """Of method and network, as far as an update's cost depends on it."""
    if config.method.name != "insertion_process":
        return config.method.name
    order = "learned" if config.method.order == "learned" else "fixed"
    return f"{config.network.kind}, {order} order"


def _smoke(config, dataset):
    del dataset
    # Random bits take long to compile.
    config.network.dropout = 0.0
    config.order_network.dropout = 0.0
    config.evaluate.update(num_examples=50, batch_size=25)
    config.train.max_padding = 1.0  # each width is compiled


def _moses(config, dataset):
    del dataset
    trunk = {"mlp_ratio": 4.0, "dropout": 0.1, "dtype": "bfloat16"}
    config.network.update(num_layers=12, num_heads=8, width=256, **trunk)
    config.order_network.update(num_layers=3, num_heads=4, width=128, **trunk)
    config.optim.update(learning_rate=5e-4, warmup_steps=1_000, ema_decay=0.9999)
    config.train.update(
        num_steps=60_000,  # 20 epochs of MOSES
        batch_size=512,
        chunk=50,
        log_every=100,
        eval_every=5_000,
        checkpoint_every=2_500,
    )
    _many(config)


def _paper(config, dataset):
    del dataset
    config.network.update(num_layers=18, num_heads=8, width=256)
    config.order_network.update(num_layers=3, num_heads=4, width=128)
    config.optim.update(
        learning_rate=5e-4, warmup_steps=1_000, weight_decay=1e-12, ema_decay=0.9999
    )
    if "order" in config.optim.group_scale:
        config.optim.group_scale = {"order": 0.01}
    config.train.update(
        num_steps=250_000,  # 100 epochs of GuacaMol
        batch_size=512,
        chunk=50,
        log_every=100,
        eval_every=10_000,
        checkpoint_every=5_000,
    )
    _many(config)


def _many(config):
    config.evaluate.update(
        num_examples=10_000,
        num_bounds=1_000,
        num_validation=1_000,
        num_validation_bounds=256,
        batch_size=500,
    )
