"""Where the time of a training step goes, by part of the computation.

    python benchmarks/profile_step.py --config=configs/star_graphs.py:tier=easy

Runs single steps of the config under the profiler and adds up the time of all
operations by the part of the model that they come from, as the compiler's metadata
tells. Threads count separately, so that shares are of work, not of waiting. Prints a
table and a line of JSON.
"""

import collections
import pathlib
import re
import tempfile

import jax
import measure
from absl import app, flags
from ml_collections import config_flags

from insertion_jax import build

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to train.")
_STEPS = flags.DEFINE_integer("steps", 10, "Steps to profile.", lower_bound=1)

# The first pattern that occurs in an operation's name says its part.
_PARTS = {
    "posterior network": r"OrderNetwork",
    "prompt: attention": r"(encode|encoder).*(dot_general|softmax|reduce|exp)"
    r"(?!.*(qkv|gate|value|down|out))",
    "prompt: rest": r"encode|encoder|prompt_key_value",
    "slots": r"slot_block|between|_states",
    "blocks": r"block",
    "reading logits": r"location|content|stop|slot|read",
    "objective": r"log_softmax|logsumexp|gather|scatter",
    "optimiser": r"adam|clip|ema|apply_updates|global_norm",
}


def main(argv):
    del argv
    config = _CONFIG.value
    _, examples, current, train_step = measure.training(config)
    batch_size = build.loop_config(config).batch_size
    batch = jax.tree.map(lambda x: x[:batch_size], examples)
    step, _, _ = measure.compile(train_step, current, batch)
    part_of = {
        name: next(
            (part for part, pattern in _PARTS.items() if re.search(pattern, source)),
            "other",
        )
        for name, source in re.findall(
            r"%?([\w.-]+) = .*?op_name=\"([^\"]*)\"", step.as_text()
        )
    }
    current, _ = jax.block_until_ready(step(current, batch))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(_STEPS.value):
                current, metrics = step(current, batch)
            jax.block_until_ready(metrics)
        [found] = pathlib.Path(folder).rglob("*.xplane.pb")
        profile = jax.profiler.ProfileData.from_file(str(found))
    seconds = collections.Counter()
    for plane in profile.planes:
        for line in plane.lines:
            for event in line.events:
                if event.name in part_of:
                    seconds[part_of[event.name]] += event.duration_ns / 1e9
    total = sum(seconds.values())
    measure.show(
        [
            {
                "part": part,
                "ms a step": 1e3 * spent / _STEPS.value,
                "share": spent / total,
            }
            for part, spent in seconds.most_common()
        ]
    )


if __name__ == "__main__":
    app.run(main)
