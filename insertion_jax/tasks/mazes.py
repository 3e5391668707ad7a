"""Maze planning: find a path that visits given subgoals in order.

All examples of a data set lie in one maze, which the model never sees: it learns the
maze from the paths. The subgoals stand on the canvas from the start and the model
inserts the cells between them, or they are given as a prompt, as methods need that
write from left to right. The task is that of the Insertion Process (arXiv 2606.02133),
after FlexMDM (arXiv 2509.01025); `maze_generator` and `maze_examples` say where the
details come from.
"""

import functools
from collections.abc import Iterable, Sequence
from os import PathLike

import numpy as np

from insertion_jax import bars
from insertion_jax.tasks import (
    maze_files,
    maze_generator,
    maze_pictures,
    maze_prompts,
    maze_scores,
)
from insertion_jax.tasks.examples import pad
from insertion_jax.tasks.maze_examples import (
    TIERS,
    MazeExample,
    MazeTier,
    split_examples,
)
from insertion_jax.tasks.maze_paths import Maze
from insertion_jax.types import NUM_SPECIALS, Batch, InputError, Task

CONDITIONINGS = ("anchored", "prompt")
OWN = "own"  # the family of a maze that the user brings

_MAX_SEED = 2**32 - 3  # of NumPy's generator, less what is added to it


def encode(examples: Iterable[MazeExample], tier: MazeTier, conditioning: str) -> Batch:
    """Turns paths into token arrays; cell `i` is token `3 + i`.

    Args:
      examples: B paths with their subgoals.
      tier: gives L, the longest path, and for prompts C, the most subgoals.
      conditioning: "anchored" puts the subgoals on the canvas; a path starts with the
        first and ends with the last, so the gaps outside of them are closed. "prompt"
        lists them in the prompt.

    Returns:
      A Batch of NumPy arrays (int32 and bool, shapes as in `Batch`); C is 0 where
      subgoals are anchored.
    """
    examples = list(examples)
    tokens, token_mask = pad(
        [[cell + NUM_SPECIALS for cell in example.path] for example in examples],
        tier.max_length,
        "path",
    )
    anchored = np.zeros_like(token_mask)
    for row, example in enumerate(examples):
        anchored[row, list(example.anchors)] = True
    closed = np.zeros((len(examples), tier.max_length + 1), bool)
    if conditioning == "anchored":
        prompts, prompt_length = [[] for _ in examples], 0
        closed[:, 0] = True
        closed[np.arange(len(examples)), anchored.sum(axis=1)] = True
    else:
        prompts = [
            row[subgoals].tolist()
            for row, subgoals in zip(tokens, anchored, strict=True)
        ]
        prompt_length = tier.max_subgoals
        anchored[:] = False
    prompt, prompt_mask = pad(prompts, prompt_length, "prompt")
    return Batch(
        prompt=prompt,
        prompt_mask=prompt_mask,
        tokens=tokens,
        length=token_mask.sum(axis=1, dtype=np.int32),
        anchored=anchored,
        closed=closed,
        index=np.arange(len(tokens), dtype=np.int32),
    )


def parse_prompt(text: str, *, maze: Maze, tier: MazeTier, conditioning: str) -> Batch:
    """Reads subgoals that a person typed, such as "1,1 5,7 3,1".

    Args:
      text: cells as row,column, counted from 0, in the order in which to visit them.
      maze: in which they lie.
      tier: its longest path is the limit, and for prompts its number of subgoals.
      conditioning: as in `encode`.

    Returns:
      A Batch of one row, whose target is a shortest path through the subgoals.

    Raises:
      InputError: says what is wrong; `maze_prompts.parse` lists it.
    """
    most = tier.max_subgoals if conditioning == "prompt" else tier.max_length
    example = maze_prompts.parse(
        text, maze, max_subgoals=most, max_length=tier.max_length
    )
    return encode([example], tier, conditioning)


def picture_of(
    example: Batch, tokens: np.ndarray, length: int, step: np.ndarray, *, maze: Maze
) -> maze_pictures.PathPicture:
    """What the picture of one generated path shows.

    Args:
      example: one row, the problem.
      tokens: int[L].
      length: how many of them count.
      step: int[L], the step at which each token was inserted; -1 at anchors.
      maze: in which the path lies.

    Returns:
      For `maze_pictures`.
    """

    def cells_of(tokens):
        cells = np.asarray(tokens) - NUM_SPECIALS
        known = (cells >= 0) & (cells < maze.walls.size)
        return tuple(
            divmod(cell, maze.width) if is_known else None
            for cell, is_known in zip(cells.tolist(), known.tolist(), strict=True)
        )

    row = Batch(*(np.asarray(field)[None] for field in example))
    subgoals, _ = maze_scores.subgoals_of(row)
    return maze_pictures.PathPicture(
        walls=maze.walls,
        subgoals=cells_of(subgoals[0] + NUM_SPECIALS),
        reference=cells_of(row.tokens[0, : row.length[0]]),
        path=cells_of(tokens[: int(length)]),
        steps=tuple(np.asarray(step)[: int(length)].tolist()),
    )


def draw(
    examples: Batch,
    tokens: np.ndarray,
    length: np.ndarray,
    step: np.ndarray,
    path: str | PathLike,
    titles: Sequence[str] = (),
    *,
    maze: Maze,
) -> None:
    """Draws several generated paths side by side.

    Args:
      examples: N rows.
      tokens: int[N, L].
      length: int[N].
      step: int[N, L], the step at which each token was inserted; -1 at anchors.
      path: of the file to write; its ending says which format.
      titles: N of them; if none, each picture says what became of its path.
      maze: in which the paths lie.

    Raises:
      ValueError: if there are titles, but not N.
    """
    pictures = [
        picture_of(*row, maze=maze)
        for row in zip(_rows(examples), tokens, length, step, strict=True)
    ]
    titles = titles or _verdicts(examples, tokens, length, maze)
    maze_pictures.draw(pictures, path, titles)


def draw_failures(
    examples: Batch,
    tokens: np.ndarray,
    length: np.ndarray,
    step: np.ndarray,
    path: str | PathLike,
    *,
    maze: Maze,
    limit: int = 8,
) -> bool:
    """Draws the first paths that are no success, and says what is wrong with each.

    Args:
      examples: N rows.
      tokens: int[N, L].
      length: int[N].
      step: int[N, L].
      path: of the file to write.
      maze: in which the paths lie.
      limit: how many to draw at most.

    Returns:
      Whether there was a failure; if not, nothing is written.
    """
    tokens, length, step = map(np.asarray, (tokens, length, step))
    stopped = np.ones(len(tokens), bool)  # does not matter to success
    scores = maze_scores.score(examples, tokens, length, stopped, maze=maze)
    failed = np.flatnonzero(scores["success"].total == 0)[:limit]
    if not failed.size:
        return False
    rows = Batch(*(np.asarray(field)[failed] for field in examples))
    draw(rows, tokens[failed], length[failed], step[failed], path, maze=maze)
    return True


def animate(
    examples: Batch,
    tokens: np.ndarray,
    length: np.ndarray,
    step: np.ndarray,
    path: str | PathLike,
    *,
    maze: Maze,
) -> bool:
    """Shows how the first of the paths was written, as an animated GIF.

    Args:
      examples: N rows.
      tokens: int[N, L].
      length: int[N].
      step: int[N, L].
      path: of the file to write, with the ending ".gif".
      maze: in which the paths lie.

    Returns:
      Whether there was a path.
    """
    for row in zip(_rows(examples), tokens, length, step, strict=True):
        maze_pictures.animate(picture_of(*row, maze=maze), path)
        return True
    return False


def _rows(examples):
    return (Batch(*row) for row in zip(*examples, strict=True))


def _verdicts(examples, tokens, length, maze):
    """What became of each generated path, in a few words."""
    tokens, length = np.asarray(tokens), np.asarray(length)
    subgoals, num_subgoals = maze_scores.subgoals_of(examples)
    needed = maze_scores.shortest_length(subgoals, num_subgoals, maze)
    visited = maze_scores.num_visited(tokens, length, subgoals, num_subgoals)
    invalid = maze_scores.first_invalid(tokens, length, maze)
    texts = []
    for row, size in enumerate(length.tolist()):
        if size == 0:
            texts.append("nothing was written")
        elif invalid[row] >= 0:
            texts.append(f"wrong at cell {invalid[row] + 1} of {size}")
        elif visited[row] < num_subgoals[row]:
            texts.append(f"visits {visited[row]} of {num_subgoals[row]} subgoals")
        elif size > needed[row]:
            texts.append(f"{size} cells; {needed[row]} would do")
        else:
            texts.append(f"{size} cells, a shortest path")
    return texts


def make(
    family: str = "perfect",
    tier: str = "tiny",
    *,
    conditioning: str = "anchored",
    maze: str | None = None,
    seed: int = 2025,
    num_train: int | None = None,
    num_validation: int | None = None,
    num_test: int | None = None,
) -> Task:
    """Makes the task of planning in one maze.

    A prompt is typed as "1,1 5,7 3,1": the subgoals as row,column, in order.

    Args:
      family: "perfect", "imperfect" or "braided"; "own" for a maze that is given.
      tier: one of `TIERS`: the maze's size, the subgoals, the longest path.
      conditioning: "anchored", subgoals stand on the canvas and nothing can be
        inserted before the first or after the last; or "prompt".
      maze: of the family "own": text as `maze_files.parse` reads it. The tier gives the
        subgoals and the longest path only.
      seed: of the maze and of the examples in it.
      num_train: size of the training split; None is the tier's own.
      num_validation: size of the validation split, likewise.
      num_test: size of the test split, likewise.

    Returns:
      The task. Its splits are made when first asked for, kept in memory, and read
      only; each is the beginning of a larger one.

    Raises:
      InputError: if there is no such family, tier or conditioning, a number is out of
        range, a maze is missing or cannot be read, or (from `load`) the maze has
        too few paths.
    """
    if tier not in TIERS:
        raise InputError(f"Unknown tier {tier!r}: the tiers are {', '.join(TIERS)}.")
    if conditioning not in CONDITIONINGS:
        raise InputError(
            f"Unknown conditioning {conditioning!r}: allowed are "
            f"{' and '.join(CONDITIONINGS)}."
        )
    if not 0 <= seed <= _MAX_SEED:
        raise InputError(f"seed is {seed}, but must be 0 to {_MAX_SEED}.")
    maze_tier = TIERS[tier]
    sizes = {
        "train": maze_tier.num_train if num_train is None else num_train,
        "validation": (
            maze_tier.num_held_out if num_validation is None else num_validation
        ),
        "test": maze_tier.num_held_out if num_test is None else num_test,
    }
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"num_{name} is {size}, but must be at least 1.")
    graph = Maze(_walls(family, maze_tier, maze, seed))

    @functools.cache
    def load(split: str) -> Batch:
        examples = split_examples(
            graph, maze_tier, split, count=sizes.get(split, 1), seed=seed
        )
        shown = bars.over(
            examples,
            sizes.get(split, 1),
            title=f"paths to {split}",
            unit="paths",
            shown=True,
        )
        batch = encode(shown, maze_tier, conditioning)
        for array in batch:
            array.flags.writeable = False
        return batch

    return Task(
        name=f"maze_{family}_{tier}",
        vocabulary=maze_prompts.vocabulary(graph),
        prompt_length=0 if conditioning == "anchored" else maze_tier.max_subgoals,
        max_length=maze_tier.max_length,
        load=load,
        score=functools.partial(maze_scores.score, maze=graph),
        parse_prompt=functools.partial(
            parse_prompt, maze=graph, tier=maze_tier, conditioning=conditioning
        ),
        format=functools.partial(maze_prompts.format_path, maze=graph),
        draw=functools.partial(draw, maze=graph),
        more_pictures={
            "failures.png": functools.partial(draw_failures, maze=graph),
            "path.gif": functools.partial(animate, maze=graph),
        },
        max_anchored=maze_tier.max_subgoals if conditioning == "anchored" else 0,
    )


def _walls(family, tier, maze, seed):
    if (maze is not None) != (family == OWN):
        raise InputError(
            f"The family {family!r} goes {'with' if family == OWN else 'without'} a "
            "maze of your own."
        )
    if maze is not None:
        return maze_files.parse(maze)
    return maze_generator.generate(family, tier.half_side, seed)
