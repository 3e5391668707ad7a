"""Star graphs: find the path from a source to a goal among arms that look alike.

A star graph is a few directed chains ("arms") of distinct nodes that share one
node, the junction. The model sees the shuffled edges, the source and the goal, and
writes the path between them, edge by edge. At the junction every arm looks the
same, so a model that writes left to right has to look ahead or guess. From the goal
backwards it has to where several arms enter the junction; `star_graph_order` needs
neither.

The tasks come from the release of the Insertion Language Model (arXiv 2505.05755);
`star_graph_generator` says how the graphs are drawn.
"""

import functools
import itertools
import re
from collections.abc import Iterable, Sequence
from os import PathLike

import numpy as np

from insertion_jax.tasks import (
    sequence_scores,
    star_graph_order,
    star_graph_pictures,
    star_graph_places,
)
from insertion_jax.tasks.examples import pad
from insertion_jax.tasks.star_graph_generator import (
    TIERS,
    StarGraph,
    StarTier,
    split_graphs,
)
from insertion_jax.types import NUM_SPECIALS, Batch, InputError, Score, Task

_SPECIALS = ("<pad>", "<bos>", "<eos>")
_PROMPT_SYNTAX = '"0>3 3>5 0>2 2>7 from 0 to 5"'


def encode(graphs: Iterable[StarGraph], tier: StarTier) -> Batch:
    """Turns graphs into token arrays; node `i` is token `3 + i`.

    The prompt is u1 v1 u2 v2 ... (the edges), source, goal. The target is the path
    as edges, p0 p1 p1 p2 ..., so that inner nodes come twice.

    Args:
      graphs: B graphs of this tier.
      tier: gives C = 2 * max_edges + 2 and L = 2 * (max_nodes - 1).

    Returns:
      A Batch of NumPy arrays (int32 and bool, shapes as in `Batch`); nothing is
      anchored, no gap is closed.
    """
    prompts, targets = [], []
    for graph in graphs:
        edges = itertools.chain.from_iterable(graph.edges)
        prompts.append(_tokens_of([*edges, graph.source, graph.goal]))
        path = itertools.chain.from_iterable(itertools.pairwise(graph.path))
        targets.append(_tokens_of(path))
    prompt, prompt_mask = pad(prompts, tier.prompt_length, "prompt")
    tokens, token_mask = pad(targets, tier.max_length, "target")
    return Batch(
        prompt=prompt,
        prompt_mask=prompt_mask,
        tokens=tokens,
        length=token_mask.sum(axis=1, dtype=np.int32),
        anchored=np.zeros_like(token_mask),
        closed=np.zeros((len(tokens), tier.max_length + 1), bool),
        index=np.arange(len(tokens), dtype=np.int32),
    )


def _tokens_of(nodes):
    return [node + NUM_SPECIALS for node in nodes]


def score(
    examples: Batch, tokens: np.ndarray, length: np.ndarray, stopped: np.ndarray
) -> dict[str, Score]:
    """Scores generated paths.

    Args:
      examples: N rows, the problems and their answers.
      tokens: int[N, L], what was generated.
      length: int[N], how much of it counts.
      stopped: bool[N], whether the model ended the sequence by itself.

    Returns:
      Scores of N samples. `exact_match` is the headline: every token right.
      `token_accuracy` is pooled: all matches over the sum of the longer lengths.
      `hamming` and `levenshtein` count edits (`_normalised`: per row, over the
      longer length). `plan_valid`: all edges exist, each starts where the last one
      ended, from source to goal. `termination`: the model stopped by itself.
      `length`: of what was generated.
    """
    tokens, length = np.asarray(tokens), np.asarray(length)
    target, target_length = np.asarray(examples.tokens), np.asarray(examples.length)
    pair = (tokens, length, target, target_length)
    longer = np.maximum(length, target_length)
    edits = sequence_scores.levenshtein(*pair)

    def mean_of(values):
        is_rate = np.asarray(values).dtype == bool
        values = np.asarray(values, np.float64)
        return Score(values, np.ones_like(values), is_rate)

    return {
        "exact_match": mean_of(sequence_scores.exact_match(*pair)),
        "token_accuracy": Score(
            sequence_scores.num_matches(*pair).astype(np.float64),
            longer.astype(np.float64),
        ),
        "hamming": mean_of(sequence_scores.hamming(*pair)),
        "levenshtein": mean_of(edits),
        "levenshtein_normalised": mean_of(edits / np.maximum(longer, 1)),
        "plan_valid": mean_of(plan_is_valid(examples, tokens, length)),
        "termination": mean_of(stopped),
        "length": mean_of(length),
    }


def plan_is_valid(
    examples: Batch, tokens: np.ndarray, length: np.ndarray
) -> np.ndarray:
    """Says which sequences lead from source to goal along edges of their graph.

    Args:
      examples: N rows; only the prompts are read.
      tokens: int[N, L].
      length: int[N].

    Returns:
      bool[N].
    """
    num_rows = len(tokens)
    pairs = np.asarray(examples.prompt).reshape(num_rows, -1, 2)
    # The last pair of a prompt is (source, goal), those before it are edges.
    num_edges = np.asarray(examples.prompt_mask).sum(axis=1) // 2 - 1
    is_edge = np.arange(pairs.shape[1]) < num_edges[:, None]
    source, goal = pairs[np.arange(num_rows), num_edges].T

    steps = tokens[:, : tokens.shape[1] // 2 * 2].reshape(num_rows, -1, 2)
    num_steps = length // 2
    unused = np.arange(steps.shape[1]) >= num_steps[:, None]
    same = (steps[:, :, None] == pairs[:, None]).all(axis=-1)
    exists = (same & is_edge[:, None]).any(axis=-1)
    chained = steps[:, 1:, 0] == steps[:, :-1, 1]
    last = steps[np.arange(num_rows), np.maximum(num_steps, 1) - 1, 1]
    return (
        (length > 0)
        & (length % 2 == 0)
        & (exists | unused).all(axis=1)
        & (chained | unused[:, 1:]).all(axis=1)
        & (steps[:, 0, 0] == source)
        & (last == goal)
    )


def parse_prompt(text: str, tier: StarTier) -> Batch:
    """Reads a problem that a person typed, such as "0>3 3>5 0>2 2>7 from 0 to 5".

    Any directed graph will do, star or not; what the model makes of it is another
    matter.

    Args:
      text: the edges, then where to start and where to end.
      tier: its node ids and its number of edges are the limits.

    Returns:
      A Batch of one row with an empty target.

    Raises:
      InputError: if the syntax is another, a node id is outside the tier's range,
        there are too many edges, source or goal is on no edge, or they are one.
    """
    match = re.fullmatch(r"\s*((?:\d+>\d+\s+)+)from\s+(\d+)\s+to\s+(\d+)\s*", text)
    if match is None:
        raise InputError(
            f"Cannot read the prompt {text!r}: write edges, source and goal like "
            f"{_PROMPT_SYNTAX}."
        )
    pairs = (edge.split(">") for edge in match[1].split())
    edges = tuple((int(u), int(v)) for u, v in pairs)
    source, goal = int(match[2]), int(match[3])
    nodes = set(itertools.chain.from_iterable(edges))
    for node in sorted(nodes | {source, goal}):
        if node >= tier.num_ids:
            raise InputError(
                f"Node {node} does not exist: the nodes of the {tier.name} tier are "
                f"0 to {tier.num_ids - 1}."
            )
    if len(edges) > tier.max_edges:
        raise InputError(
            f"The prompt has {len(edges)} edges: the {tier.name} tier has room for "
            f"{tier.max_edges}."
        )
    for role, node in (("source", source), ("goal", goal)):
        if node not in nodes:
            raise InputError(f"The {role} {node} is on none of the prompt's edges.")
    if source == goal:
        raise InputError(
            f"Source and goal are both {source}: there is no path to find."
        )
    return encode([StarGraph(edges, source, goal, path=())], tier)


def _text_of(token: int) -> str:
    """A token's text; ids that no tier has are shown, too."""
    token = int(token)
    if token >= NUM_SPECIALS:
        return str(token - NUM_SPECIALS)
    return _SPECIALS[token] if token >= 0 else f"<{token}>"


def format_path(tokens: np.ndarray, length: int) -> str:
    """Writes a generated path like "0>3 3>5", whatever its tokens are.

    Args:
      tokens: int[L].
      length: how many of them count; if odd, the last edge lacks its end: "3>".

    Returns:
      The edges, separated by blanks.
    """
    texts = [_text_of(token) for token in np.asarray(tokens)[: int(length)]]
    ends = itertools.zip_longest(texts[::2], texts[1::2], fillvalue="")
    return " ".join(">".join(edge) for edge in ends)


def _picture_of(
    example: Batch, tokens: np.ndarray, length: int, step: np.ndarray
) -> star_graph_pictures.PlanPicture:
    """What the picture of one generated path shows, as text."""
    prompt = np.asarray(example.prompt)[np.asarray(example.prompt_mask)]
    *edges, (source, goal) = [
        (_text_of(u), _text_of(v)) for u, v in prompt.reshape(-1, 2)
    ]
    return star_graph_pictures.PlanPicture(
        edges=tuple(edges),
        source=source,
        goal=goal,
        tokens=tuple(_text_of(token) for token in np.asarray(tokens)[: int(length)]),
        steps=tuple(np.asarray(step)[: int(length)].tolist()),
    )


def draw(
    examples: Batch,
    tokens: np.ndarray,
    length: np.ndarray,
    step: np.ndarray,
    path: str | PathLike,
    titles: Sequence[str] = (),
) -> None:
    """Draws several generated paths side by side.

    Each edge of a path is coloured by when its two ends were inserted, its tail's
    half and its head's half apart; edges that the graph doesn't have are dashed and
    red. The strip below shows the sequence with the step of every token.

    Args:
      examples: N rows.
      tokens: int[N, L].
      length: int[N].
      step: int[N, L], the step at which each token was inserted.
      path: of the file to write; its ending says which format.
      titles: N of them, or none.

    Raises:
      InputError: if there are titles, but not N.
    """
    rows = (Batch(*row) for row in zip(*examples, strict=True))
    pictures = [
        _picture_of(*row) for row in zip(rows, tokens, length, step, strict=True)
    ]
    star_graph_pictures.draw(pictures, path, titles)


def make(
    tier: str = "hard",
    *,
    num_train: int = 50_000,
    num_validation: int | None = None,
    num_test: int = 5_000,
) -> Task:
    """Makes the star-graph task of a tier.

    A prompt is typed as "0>3 3>5 0>2 2>7 from 0 to 5": the directed edges, the
    source and the goal.

    Args:
      tier: one of `TIERS`.
      num_train: size of the training split.
      num_validation: size of the validation split; None is the tier's own (hard:
        100, as frozen; others: 1,000).
      num_test: size of the test split.

    Returns:
      The task. Its splits are made when first asked for, kept in memory, and read
      only.

    Raises:
      InputError: if there is no such tier, or a split would be empty.
    """
    if tier not in TIERS:
        raise InputError(f"Unknown tier {tier!r}: the tiers are {', '.join(TIERS)}.")
    for name, size in (
        ("num_train", num_train),
        ("num_validation", num_validation),
        ("num_test", num_test),
    ):
        if size is not None and size < 1:
            raise InputError(f"{name} is {size}, but must be at least 1.")
    star_tier = TIERS[tier]

    @functools.cache
    def load(split: str) -> Batch:
        graphs = split_graphs(
            star_tier,
            split,
            num_train=num_train,
            num_validation=num_validation,
            num_test=num_test,
        )
        batch = encode(graphs, star_tier)
        for array in batch:
            array.flags.writeable = False
        return batch

    return Task(
        name=f"star_graphs_{tier}",
        vocabulary=_SPECIALS + tuple(str(i) for i in range(star_tier.num_ids)),
        prompt_length=star_tier.prompt_length,
        max_length=star_tier.max_length,
        load=load,
        score=score,
        parse_prompt=functools.partial(parse_prompt, tier=star_tier),
        format=format_path,
        draw=draw,
        places=star_graph_places.places,
        max_anchored=0,
        order_rank=star_graph_order.order_rank,
    )
