"""The order of insertion in which every step of a star graph's path is forced.

The arms of a star graph, chains of nodes, meet in one node, the junction, which more edges
leave than any other. A step is forced if the prompt has one edge that fits. At the
junction several do, whether one comes from the source or from the goal; before it one
does: one edge ends in the goal and in each node back to the junction, and one leaves the
source and each node on to the junction. A learned order can be held against this one
(RESULTS.md, "Hard").
"""

import jax
import jax.numpy as jnp

from insertion_jax.types import Batch


def order_rank(example: Batch) -> jax.Array:
    """The steps of the order: from the goal back to the junction, then from the source.

    Args:
      example: a `Batch` without its leading axis, whose target is the path.

    Returns:
      int32[L], 0 for the position that is inserted first; beyond the path it means
      nothing.
    """
    # The last pair of a prompt is source and goal; those before it are edges.
    pairs = example.prompt.reshape(-1, 2)
    num_edges = example.prompt_mask.sum() // 2 - 1
    tail = jnp.where(jnp.arange(len(pairs)) < num_edges, pairs[:, 0], -1)
    num_leaving = jnp.sum(tail[:, None] == tail, axis=1)
    junction = tail[jnp.argmax(jnp.where(tail < 0, 0, num_leaving))]

    position = jnp.arange(example.tokens.shape[0])
    is_real = position < example.length
    # Where the junction stands first; before it is the source's side.
    centre = jnp.argmax(is_real & (example.tokens == junction))
    from_goal = example.length - 1 - position
    from_source = example.length - centre + position
    return jnp.where(position >= centre, from_goal, from_source)
