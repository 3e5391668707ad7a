"""From a config to objects: the only place where names become functions.

A config is a `ConfigDict` as the files in `configs/` make it, with one section a
part: `task`, `method`, `network`, `order_network`, `optim`, `train`, `evaluate`,
`sample`. Sections are checked and turned into the frozen dataclasses of the parts
here; nothing else reads them.
"""

import inspect

from ml_collections import ConfigDict

from insertion_jax.methods import flex_method, insertion_method
from insertion_jax.networks import canvas, flexible, order, trajectory
from insertion_jax.networks.rate_heads import RateConfig
from insertion_jax.networks.transformer import TransformerConfig
from insertion_jax.tasks import mazes, star_graphs
from insertion_jax.training import placement
from insertion_jax.training.loop import LoopConfig
from insertion_jax.training.state import OptimizerConfig
from insertion_jax.types import InputError, Method, Task


def _fragments():
    # Inside, as in the next two: plans should not wait for rdkit.
    from insertion_jax.tasks import fragments

    return fragments


def _linkers():
    from insertion_jax.tasks import linkers

    return linkers


def _molecules():
    from insertion_jax.tasks import molecules

    return molecules


_TASKS = {
    "fragments": _fragments,
    "linkers": _linkers,
    "mazes": lambda: mazes,
    "molecules": _molecules,
    "star_graphs": lambda: star_graphs,
}


# Where tasks of many answers say how often a problem of the test split is asked.
_ASKS_OFTEN = {"linkers": "samples_per_pair", "fragments": "samples_per_fragment"}


def task(config: ConfigDict) -> Task:
    """The task named by `config.task.name`, with the section's other fields.

    Raises:
      InputError: an unknown name or field, or a value out of range.
    """
    section = _section(config, "task")
    module = _choice("task.name", section.pop("name", None), _TASKS)()
    return _call("task", module.make, section)


def ask_each(config: ConfigDict, times: int, split: str = "test") -> None:
    """Sets how often each problem of the test split is asked in a row.

    Raises:
      InputError: the task, or another split, asks each once.
    """
    if split != "test":
        raise InputError(
            f"--samples_per_problem is for --split=test; the {split} split asks each "
            "problem once."
        )
    name = config.get("task", {}).get("name")
    if name not in _ASKS_OFTEN:
        raise InputError(
            "--samples_per_problem is for tasks with many answers to a problem, "
            f"{' and '.join(_ASKS_OFTEN)}; {name} asks each once."
        )
    with config.unlocked():
        config.task[_ASKS_OFTEN[name]] = times


def fetch(config: ConfigDict) -> list[str]:
    """Downloads what the task needs and does not have.

    Returns:
      A line about each file; none for a task that makes its own data.

    Raises:
      InputError: as `task`, or a download fails.
    """
    section = _section(config, "task")
    module = _choice("task.name", section.pop("name", None), _TASKS)()
    if not hasattr(module, "fetch"):
        return []
    return module.fetch(section.get("source", ""), section.get("data_dir", ""))


def method(config: ConfigDict, of_task: Task) -> Method:
    """The method named by `config.method.name` with its networks.

    Raises:
      InputError: an unknown name or field, or a value out of range.
    """
    section = _section(config, "method")
    make = _choice("method.name", section.pop("name", None), _METHODS)
    return make(config, section, of_task)


def optimizer_config(config: ConfigDict) -> OptimizerConfig:
    """The optimiser's settings; its schedule ends with the run."""
    section = _section(config, "optim")
    section["total_steps"] = loop_config(config).num_steps
    return _call("optim", OptimizerConfig, section)


def loop_config(config: ConfigDict) -> LoopConfig:
    """The loop's settings."""
    section = _section(config, "train")
    for name in ("placement", "fsdp"):
        section.pop(name, None)
    return _call("train", LoopConfig, section)


def place(config: ConfigDict) -> placement.Placement:
    """The placement on all devices."""
    section = _section(config, "train")
    return placement.make(
        section.get("placement", "pmap"), fsdp=section.get("fsdp", False)
    )


def _insertion_process(config, section, of_task):
    settings = _call("method", insertion_method.InsertionConfig, section)
    vocab_size = len(of_task.vocabulary)
    network = _section(config, "network")
    kind = network.pop("kind", "canvas")
    emits_eos = settings.termination == "eos"
    prompt_sees_canvas = network.pop("prompt_sees_canvas", False)
    make = _choice("network.kind", kind, {"canvas": canvas, "trajectory": trajectory})
    trunk = _call("network", TransformerConfig, network)
    if kind == "trajectory":
        if prompt_sees_canvas:
            raise InputError(
                "network.prompt_sees_canvas is True, but a trajectory network encodes "
                "the prompt once; it must be False."
            )
        policy = make.make(trunk, vocab_size, emits_eos=emits_eos)
    else:
        policy = make.make(
            trunk,
            vocab_size,
            emits_eos=emits_eos,
            prompt_sees_canvas=prompt_sees_canvas,
        )
    posterior = None
    if settings.order == "learned":
        order_network = _section(config, "order_network")
        initial_slope = order_network.pop("initial_slope", 0.0)
        posterior = order.make(
            _call("order_network", TransformerConfig, order_network),
            vocab_size,
            initial_slope=initial_slope,
        )
    if settings.num_widths > 1:
        if kind == "trajectory":
            raise InputError(
                f"method.num_widths is {settings.num_widths}, but a trajectory network "
                "reads all canvases from one pass; it must be 1."
            )
        if of_task.max_anchored is None:
            raise InputError(
                f"method.num_widths is {settings.num_widths}, but {of_task.name} does "
                "not say how many tokens stand on a canvas at most; it must be 1."
            )
    num_steps = config.get("train", {}).get("num_steps", settings.order_steps)
    if settings.order_steps > num_steps:
        raise InputError(
            f"method.order_steps is {settings.order_steps}, but training ends at step "
            f"{num_steps}; the order would never become certain."
        )
    return insertion_method.make(
        policy, posterior, settings, of_task.max_anchored, of_task.order_rank
    )


def _flexmdm(config, section, of_task):
    settings = _call("method", flex_method.FlexMDMConfig, section)
    vocab_size = len(of_task.vocabulary)
    denoiser = flexible.make(vocab_size=vocab_size, **_denoiser_options(config))
    return flex_method.make(
        denoiser,
        None,
        settings,
        mask_id=vocab_size,
        padded_length=of_task.prompt_length + of_task.max_length,
    )


def _loflexmdm(config, section, of_task):
    settings = _call("method", flex_method.LoFlexMDMConfig, section)
    vocab_size = len(of_task.vocabulary)
    options = _denoiser_options(config)
    options.update(vocab_size=vocab_size, learns_unmask=settings.learns_unmask)
    order_network = _section(config, "order_network")
    shares_trunk, both = order_network.pop("shares_trunk", False), None
    rates = {"low": 1.01} | order_network.pop("rates", {})
    rates = _call("order_network.rates", RateConfig, rates)
    if shares_trunk:
        denoiser, events, both = flexible.make_shared(
            order_rates=rates, order_sees_time=settings.rates_see_time, **options
        )
    else:
        denoiser = flexible.make(**options)
        events = flexible.make_order(
            _call("order_network", TransformerConfig, order_network),
            vocab_size,
            rates,
            learns_unmask=settings.learns_unmask,
            sees_time=settings.rates_see_time,
        )
    return flex_method.make(
        denoiser,
        events,
        settings,
        mask_id=vocab_size,
        padded_length=of_task.prompt_length + of_task.max_length,
        both=both,
    )


def _denoiser_options(config):
    """Of the flexible methods' networks, from the section `network`."""
    network = _section(config, "network")
    return {
        "prompt_sees_canvas": network.pop("prompt_sees_canvas", False),
        "rates": _call("network.rates", RateConfig, network.pop("rates", {})),
        "config": _call("network", TransformerConfig, network),
    }


_METHODS = {
    "flexmdm": _flexmdm,
    "insertion_process": _insertion_process,
    "loflexmdm": _loflexmdm,
}


def _section(config, name):
    """A section's fields as a dict."""
    if not isinstance(config.get(name), ConfigDict):
        raise InputError(f"The config lacks the section {name!r}.")
    return config[name].to_dict()


def _choice(field, name, choices):
    if name not in choices:
        raise InputError(
            f"{field} is {name!r}; allowed are {', '.join(sorted(choices))}."
        )
    return choices[name]


def _call(section_name, make, section):
    """Calls `make(**section)`; a field that it does not know is named."""
    known = inspect.signature(make).parameters
    for name in sorted(set(section) - set(known)):
        raise InputError(
            f"{section_name}.{name} is not a setting; {section_name} has "
            f"{', '.join(sorted(known))}."
        )
    try:
        return make(**section)
    except TypeError as error:
        raise InputError(f"In section {section_name!r}: {error}.") from error
    except ValueError as error:
        raise InputError(f"In section {section_name!r}: {error}") from error
