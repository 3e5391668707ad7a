"""What length buckets save: a training step padded to each bucket's width, and to all.

    python benchmarks/buckets.py --config=configs/molecules.py:dataset=rdkit

Each step is compiled on its own and timed in turns with the others, on rows that fit.
Prints a table and a line of JSON:

    width     tokens to which targets are padded
    share     of the examples, and so of the steps
    padding   share of padding in the targets
    ms/step   median of the turns
    gain      seconds of a step without buckets over those of a step with them, by the
              shares; what it would be if a step cost as much as its targets' tokens is
              gain_by_tokens
"""

import jax
import measure
import numpy as np
from absl import app, flags
from ml_collections import config_flags

from insertion_jax import build
from insertion_jax.training import buckets

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to train.")
_TURNS = flags.DEFINE_integer("turns", 5, "How often each is timed.", lower_bound=1)


def main(argv):
    del argv
    config = _CONFIG.value
    loop = build.loop_config(config)
    if loop.max_padding == 1:
        raise app.UsageError("train.max_padding is 1: this config has no buckets.")
    task, examples, first, train_step = measure.training(config)
    lengths = examples.length
    of_length = buckets.make(lengths, loop.max_padding, loop.bucket_steps)

    def step_of(rows, width):
        chosen = np.random.default_rng(0).choice(rows, loop.batch_size)
        batch = jax.tree.map(lambda x: x[chosen], examples)
        batch = buckets.trim(batch, width)
        run, *_ = measure.compile(train_step, first, batch)
        return lambda: run(first, batch)

    parts = dict(zip(of_length.widths, of_length.rows, strict=True))
    calls = {f"bucket {width}": step_of(rows, width) for width, rows in parts.items()}
    calls["all"] = step_of(np.arange(len(lengths)), task.max_length)
    seconds, matmul = measure.seconds_in_turns(
        calls, _TURNS.value, config.network.dtype
    )

    def row(name, rows, width):
        return {
            "step": name,
            "width": width,
            "share": len(rows) / len(lengths),
            "padding": 1 - lengths[rows].mean() / width,
            "ms/step": 1e3 * seconds[name],
        }

    table = [row(f"bucket {width}", rows, width) for width, rows in parts.items()]
    with_buckets = sum(part["share"] * part["ms/step"] for part in table)
    tokens = sum(part["share"] * part["width"] for part in table)
    table.append(row("all", np.arange(len(lengths)), task.max_length))
    measure.show(
        table,
        gain=table[-1]["ms/step"] / with_buckets,
        gain_by_tokens=task.max_length / tokens,
        task=task.name,
        batch_size=loop.batch_size,
        matmul_gflops=matmul / 1e9,
    )


if __name__ == "__main__":
    app.run(main)
