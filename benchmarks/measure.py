"""What the benchmarks share: clocks, counts and tables."""

import json
import platform
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from insertion_jax import build
from insertion_jax.training import state

_MATMUL_SIZE = 1024


def matmul_flops_per_second(dtype) -> float:
    """Rate of the best of some products of 1024 x 1024 matrices.

    Args:
      dtype: of a network; "mixed" has products of float32 matrices here, too.

    Returns:
      FLOP/s of one device; of all CPU devices, which share the cores.
    """
    dtype = "float32" if dtype == "mixed" else dtype
    x = jnp.ones((_MATMUL_SIZE, _MATMUL_SIZE), dtype)
    product = jax.jit(jnp.matmul)
    product(x, x).block_until_ready()
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        product(x, x).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * _MATMUL_SIZE**3 / min(seconds)


def compile(function, *args):
    """Compiles for these arguments.

    Returns:
      `(compiled, flop, bytes)`: the operations as the compiler counts them, which
      counts the body of a loop once, and the peak of temporary memory.
    """
    compiled = jax.jit(function).lower(*args).compile()
    memory = compiled.memory_analysis()
    return compiled, compiled.cost_analysis()["flops"], memory.temp_size_in_bytes


def training(config):
    """What a config trains.

    Returns:
      `(task, examples, first, train_step)`: the training split, the state before the
      first step, and the step.
    """
    task = build.task(config)
    method = build.method(config, task)
    settings = build.optimizer_config(config)
    optimizer = state.make_optimizer(settings)
    examples = jax.tree.map(np.asarray, task.load("train"))
    example = jax.tree.map(lambda x: x[0], examples)
    first = state.init_state(
        jax.random.key(config.train.seed), method, example, optimizer
    )
    return task, examples, first, state.make_train_step(method, optimizer, settings)


def seconds_in_turns(calls: dict, turns: int, dtype="float32"):
    """Times calls in turns, so that all of them see the same machine.

    Args:
      calls: from a name to a function without arguments; each is called once before
        the clock starts.
      turns: how often each is timed.
      dtype: of the matrix products that run in between.

    Returns:
      `(seconds, matmul)`: the median of each call by name, and the median rate of
      matrix products in FLOP/s.
    """
    for call in calls.values():
        jax.block_until_ready(call())
    seconds = {name: [] for name in calls}
    matmul = []
    for _ in range(turns):
        matmul.append(matmul_flops_per_second(dtype))
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return medians, statistics.median(matmul)


def machine() -> dict:
    """Where a figure was taken."""
    return {
        "devices": [str(device) for device in jax.devices()],
        "jax": jax.__version__,
        "python": platform.python_version(),
    }


def show(rows: list[dict], **constants) -> None:
    """Prints rows as a table, then everything as one line of JSON."""
    names = list(rows[0])
    cells = [names] + [[_text(row[name]) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(f"{cell:>{w}}" for cell, w in zip(line, widths, strict=True)))
    for name, value in constants.items():
        print(f"{name}: {_text(value)}")
    print(json.dumps({"rows": rows, **constants, **machine()}))


def _text(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
