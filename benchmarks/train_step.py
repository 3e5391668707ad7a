"""Speed of a training step, against the matrix products of the same process.

    python benchmarks/train_step.py --config=configs/star_graphs.py:tier=easy

Runs the config's own training chunk, data pipeline included, and in turns with it
large matrix products in the step's dtype (float32 for "mixed"), so that both see the
same machine. Prints a table and a line of JSON:

    matmul_gflops    rate of a 1024 x 1024 matrix product, best of each turn, times the
                     number of devices; CPU devices share the cores, all of which one
                     product uses
    step_gflop       floating-point operations of one step, as the compiler counts them
    step_gflops      their rate
    share            step_gflops / matmul_gflops, the median of the turns
    step_megabytes   peak of temporary memory of one step
    data_wait_share  share of the time spent waiting for the next batches
"""

import json
import statistics
import time

import jax
import measure
from absl import app, flags
from ml_collections import config_flags

from insertion_jax import build
from insertion_jax.training import data

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to train.")
_TURNS = flags.DEFINE_integer("turns", 7, "Chunks to time.", lower_bound=1)


def main(argv):
    del argv
    config = _CONFIG.value
    task, examples, first, train_step = measure.training(config)
    loop = build.loop_config(config)
    place = build.place(config)
    current = place.put_state(first)
    train_chunk = place.compile(train_step)
    chunks = data.Chunks(
        examples,
        seed=0,
        start_step=0,
        end_step=loop.chunk * (_TURNS.value + 2),
        chunk=loop.chunk,
        batch_size=loop.batch_size,
        process_index=0,
        process_count=1,
    )
    batches = place.put_chunk(next(chunks))
    batch = jax.tree.map(lambda x: x[: loop.batch_size], examples)
    _, step_flop, step_memory = measure.compile(train_step, current, batch)
    current, metrics = train_chunk(current, batches)  # compiles
    place.fetch(metrics)

    rates, matmul_rates, seconds, waited = [], [], [], []
    for _ in range(_TURNS.value):
        rate = measure.matmul_flops_per_second(config.network.dtype)
        on_cpu = jax.default_backend() == "cpu"
        count = jax.process_count() if on_cpu else place.num_devices
        matmul_rates.append(rate * count)
        waited_before = chunks.seconds_waited
        start = time.perf_counter()
        batches = place.put_chunk(next(chunks))
        current, metrics = train_chunk(current, batches)
        place.fetch(metrics)
        seconds.append(time.perf_counter() - start)
        waited.append(chunks.seconds_waited - waited_before)
        rates.append(step_flop * loop.chunk / seconds[-1])
    chunks.close()

    result = {
        "task": task.name,
        "parameters": sum(x.size for x in jax.tree.leaves(current.params)),
        "batch_size": loop.batch_size,
        "steps_per_second": loop.chunk / statistics.median(seconds),
        "step_gflop": step_flop / 1e9,
        "step_gflops": statistics.median(rates) / 1e9,
        "matmul_gflops": statistics.median(matmul_rates) / 1e9,
        "share": statistics.median(
            rate / matmul for rate, matmul in zip(rates, matmul_rates, strict=True)
        ),
        "data_wait_share": sum(waited) / sum(seconds),
        "step_megabytes": step_memory / 1e6,
        **measure.machine(),
    }
    for name, value in result.items():
        print(
            f"{name:18} {value:.4g}"
            if isinstance(value, float)
            else f"{name:18} {value}"
        )
    print(json.dumps(result))


if __name__ == "__main__":
    app.run(main)
