"""Which edges the policy of a star-graph run can look up, and from where.

    python benchmarks/plan_lookups.py RUN RUN2 ...

One edge of the prompt gives the node after the source, the node before the goal and the
node after any other; a plan is right if the policy looks up what it needs, and where
arms run through the junction it needs both directions. Prints, for canvases that hold a
part of the right plan, the probability of the right token given the gap, its mean over
test graphs (the averaged policy; canvas networks):

    from the source       source and goal are there: the node after the source
    from the goal         the same canvases: the node before the goal
    from a node           also the node after the source, twice: the one after it
    back at the junction  all from the junction on, three edges or more after the
                          source: the source, which the prompt names
    at the junction       the source is there, too: the node after it
    into the junction     the same canvases: the node before the junction, which the
                          edges do not tell from others

A policy of the uniform order that looks up all that one edge tells gives each of the
first three about 2 / (number of missing tokens), for each node is missing twice; "share"
is that number's mean for the first two. Then a line of JSON.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from insertion_jax import build, runs
from insertion_jax.networks import canvas
from insertion_jax.networks.transformer import TransformerConfig
from insertion_jax.tasks.star_graph_places import edges_before_junction
from insertion_jax.training import checkpoint
from insertion_jax.types import Canvas

_GRAPHS = flags.DEFINE_integer("graphs", 1_000, "Test graphs.", lower_bound=1)


def main(argv):
    for folder in map(pathlib.Path, argv[1:]):
        found = {"run": folder.name} | lookups(folder, _GRAPHS.value)
        for name, value in found.items():
            print(f"{name:>20}  {value:.3f}" if isinstance(value, float) else value)
        print(json.dumps(found) + "\n", flush=True)


def lookups(folder, num_graphs):
    """The means over a run's test graphs, by name."""
    config = runs.load_config(folder)
    if config.task.name != "star_graphs" or config.network.get("kind") != "canvas":
        raise app.UsageError(f"{folder} is no run of star graphs with canvas networks.")
    task = build.task(config)
    examples = jax.tree.map(lambda x: np.asarray(x[:num_graphs]), task.load("test"))
    params, meta = checkpoint.read_params(folder)
    tokens_given = jax.jit(jax.vmap(_policy(config, task, params["policy"])))

    def probability(question):
        """Of the right token in the gap, on the canvas of the positions shown."""
        shown, gap, target = question
        order = np.argsort(~shown, axis=1, kind="stable")
        content = np.take_along_axis(examples.tokens, order, axis=1)
        laws = tokens_given(
            examples.prompt, examples.prompt_mask, content, shown.sum(axis=1)
        )
        row = np.arange(len(content))
        return np.asarray(laws)[row, gap, examples.tokens[row, target]]

    before = edges_before_junction(examples)
    long = examples.length >= 6  # a pair and more between source and goal
    asked = questions(examples.length, before, examples.tokens.shape[1])
    found = {
        "step": meta["step"],
        "share": float(np.mean(2 / (examples.length[long] - 2))),
    }
    for name, question in asked.items():
        chosen = before > 2 if "junction" in name else long
        # With two edges the node after the source is the one before the junction.
        if chosen.any():
            found[name] = float(probability(question)[chosen].mean())
    return found


def questions(length, before, size):
    """What is shown of right plans, and which token is asked for.

    Args:
      length: int[N], tokens of the plans: the source, each further node twice, the goal.
      before: int[N], edges from the source to the junction.
      size: L.

    Returns:
      By name `(shown, gap, target)`: the positions on the canvas, bool[N, L]; the gap
      asked for; the position in the plan of the right token, one number or int[N].
    """
    position = np.arange(size)
    last = np.asarray(length) - 1
    centre = np.maximum(
        2 * np.asarray(before) - 1, 0
    )  # where the junction first stands
    ends = (position == 0) | (position == last[:, None])
    pair = ends | (position < 3)
    onward = (position >= centre[:, None]) & (position <= last[:, None])
    with_source = onward | (position == 0)
    return {
        "from the source": (ends, 1, 1),
        "from the goal": (ends, 1, last - 1),
        "from a node": (pair, 3, 3),
        "back at the junction": (onward, 0, 0),
        "at the junction": (with_source, 1, 1),
        "into the junction": (with_source, 1, np.maximum(centre - 1, 0)),
    }


def _policy(config, task, params):
    """`(prompt, mask, tokens, length) -> float[L + 1, V]`, tokens given the gap."""
    section = config.network.to_dict()
    del section["kind"]
    sees = section.pop("prompt_sees_canvas")
    network = canvas.make(
        TransformerConfig(**section), len(task.vocabulary), prompt_sees_canvas=sees
    )

    def tokens_given(prompt, mask, tokens, length):
        policy = network.apply(params, prompt, mask)
        seen = Canvas(tokens, length, jnp.zeros(tokens.shape, bool))
        return jax.nn.softmax(policy(seen).token)

    return tokens_given


if __name__ == "__main__":
    app.run(main)
