"""Which edges the policy of a star-graph run can look up, and from where.

    python benchmarks/plan_lookups.py RUN RUN2 ...

One edge of the prompt gives the node after the source, the node before the goal, and
the node after any other that is not the junction; where arms run through the junction,
a plan that is no guess takes both directions. Prints, for canvases that hold a part of
the right plan, the probability of the right token given the gap, its mean over the test
graphs where one edge gives it (the averaged policy; canvas networks):

    from the source       source and goal are there: the node after the source
    from the goal         the same canvases: the node before the goal
    from a node           also the node after the source, twice: the one after it
    back at the junction  all from the junction on, three edges or more after the
                          source: the source, which the prompt names
    at the junction       the source is there, too: the node after it
    into the junction     the same canvases: the node before the junction, which the
                          edges do not tell from others

Next to each, in brackets, what a uniform order gives it that can look it up and knows
how many tokens are missing: 2 of them are the node, or 1 the source. An order that always
writes another token of the gap next gives it nearly nothing, known or not; so behind it
stands its rank, the share of the graph's nodes off the path that are less probable: 0.5
where nothing is known of it, 1 where it is. Then a line of JSON.
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
from insertion_jax.types import Canvas, InputError

_GRAPHS = flags.DEFINE_integer("graphs", 1_000, "Test graphs.", lower_bound=1)


def main(argv):
    if len(argv) < 2:
        raise app.UsageError("Name the directories of one or more runs.")
    for folder in map(pathlib.Path, argv[1:]):
        try:
            step, found = lookups(folder, _GRAPHS.value)
        except InputError as error:
            raise app.UsageError(str(error)) from error
        print(f"{folder.name}, step {step}")
        for name, each in found.items():
            value, uniform, rank = each["probability"], each["uniform"], each["rank"]
            print(f"{name:>20}  {value:.3f} ({uniform:.3f}), rank {rank:.3f}")
        report = {"run": folder.name, "step": step, "asked": found}
        print(json.dumps(report) + "\n", flush=True)


def lookups(folder, num_graphs):
    """Of a run: its step, and by name the means and the number of graphs."""
    config = runs.load_config(folder)
    if config.task.name != "star_graphs" or config.network.get("kind") != "canvas":
        raise app.UsageError(f"{folder} is no run of star graphs with canvas networks.")
    task = build.task(config)
    examples = jax.tree.map(lambda x: np.asarray(x[:num_graphs]), task.load("test"))
    params, meta = checkpoint.read_params(folder)
    tokens_given = jax.jit(jax.vmap(_policy(config, task, params["policy"])))

    before = edges_before_junction(examples)
    row = np.arange(len(before))
    off_path = np.zeros((len(row), len(task.vocabulary)), bool)
    for i in row:
        off_path[i, examples.prompt[i][examples.prompt_mask[i]]] = True
        off_path[i, examples.tokens[i, : examples.length[i]]] = False
    found = {}
    asked = questions(examples.length, before, examples.tokens.shape[1])
    for name, (shown, gap, target, chosen) in asked.items():
        if not chosen.any():
            continue
        order = np.argsort(~shown, axis=1, kind="stable")
        content = np.take_along_axis(examples.tokens, order, axis=1)
        count = shown.sum(axis=1)
        laws = tokens_given(examples.prompt, examples.prompt_mask, content, count)
        law = np.asarray(laws)[row, gap]
        right = law[row, examples.tokens[row, target]]
        rank = ((law < right[:, None]) & off_path).sum(axis=1) / off_path.sum(axis=1)
        # All that is missing lies in this gap, the source once, other nodes twice.
        uniform = np.where(target == 0, 1, 2) / np.maximum(examples.length - count, 1)
        means = {"probability": right, "uniform": uniform, "rank": rank}
        found[name] = {
            key: float(values[chosen].mean()) for key, values in means.items()
        }
        found[name]["graphs"] = int(chosen.sum())
    return meta["step"], found


def questions(length, before, size):
    """What is shown of right plans, and which token is asked for.

    Args:
      length: int[N], tokens of the plans: the source, each further node twice, the goal.
      before: int[N], edges from the source to the junction.
      size: L.

    Returns:
      By name `(shown, gap, target, chosen)`: the positions on the canvas, bool[N, L]; the
      gap asked for; the position in the plan of the right token, one number or int[N];
      the plans that are asked, bool[N].
    """
    position = np.arange(size)
    length, before = np.asarray(length), np.asarray(before)
    last = length - 1
    # Where the junction first stands.
    centre = np.maximum(2 * before - 1, 0)
    ends = (position == 0) | (position == last[:, None])
    pair = ends | (position < 3)
    onward = (position >= centre[:, None]) & (position <= last[:, None])
    with_source = onward | (position == 0)
    # With two edges the node after the source is the one before the junction.
    far, is_long = before > 2, length >= 6
    return {
        "from the source": (ends, 1, 1, is_long & (before > 0)),
        "from the goal": (ends, 1, last - 1, is_long),
        "from a node": (pair, 3, 3, is_long & (before != 1)),
        "back at the junction": (onward, 0, 0, far),
        "at the junction": (with_source, 1, 1, far),
        "into the junction": (with_source, 1, np.maximum(centre - 1, 0), far),
    }


def _policy(config, task, params):
    """`(prompt, mask, tokens, length) -> float[L + 1, V]`, tokens given the gap."""
    section = config.network.to_dict()
    del section["kind"]
    sees = section.pop("prompt_sees_canvas")
    network = canvas.make(
        TransformerConfig(**section),
        len(task.vocabulary),
        emits_eos=config.method.termination == "eos",
        prompt_sees_canvas=sees,
    )

    def tokens_given(prompt, mask, tokens, length):
        policy = network.apply(params, prompt, mask)
        seen = Canvas(tokens, length, jnp.zeros(tokens.shape, bool))
        return jax.nn.softmax(policy(seen).token)

    return tokens_given


if __name__ == "__main__":
    app.run(main)
