"""Samples of the fragment task: what each was asked for, scored, written."""

import pathlib
from collections.abc import Callable, Container, Mapping, Sequence

import numpy as np

from insertion_jax.chemistry import (
    descriptions,
    fragment_constraints,
    fragment_scores,
    molecules,
    safe,
    smiles,
)
from insertion_jax.chemistry.fragment_constraints import Problem
from insertion_jax.tasks import molecule_samples
from insertion_jax.types import Batch, Score

# A person's problem, by the number of the row and the text that is given: what stands
# on a canvas does not say which molecule it is of, nor which ends were drawn.
Asked = Mapping[tuple[int, str], Problem]


def problems_of(
    examples: Batch, vocabulary: smiles.Vocabulary, asked: Asked
) -> list[Problem]:
    """What each of N rows asks for.

    Args:
      examples: N rows; what is anchored is given, and the target, if it goes on, is the
        molecule that it is of.
      vocabulary: of the tokens.
      asked: the problems of rows that are a person's.
    """
    found = []
    for row in range(len(examples.length)):
        ids = np.asarray(examples.tokens[row])[: int(examples.length[row])]
        num_given = int(np.sum(examples.anchored[row]))
        text = vocabulary.decode(ids[:num_given])
        problem = asked.get((int(examples.index[row]), text))
        found.append(problem or _problem(text, vocabulary.decode(ids[num_given:])))
    return found


def _problem(given, rest):
    fragments = (safe.fragments_of(given.removesuffix(".")) or "") if given else ""
    if fragments:
        fragments = fragment_constraints.without_marks(fragments)
    molecule = molecules.flat(safe.decode(given + rest)) if rest else None
    return Problem(fragment_constraints.task_of(fragments), fragments, molecule)


def score(
    examples: Batch,
    tokens: np.ndarray,
    length: np.ndarray,
    stopped: np.ndarray,
    *,
    vocabulary: smiles.Vocabulary,
    asked: Asked,
) -> dict[str, Score]:
    """Scores molecules written around fragments; 5 ms each.

    Rows that ask for the same are samples of one problem, wherever they stand.

    Args:
      examples: N rows.
      tokens: int[N, L].
      length: int[N].
      stopped: bool[N].
      vocabulary: of the tokens.
      asked: as in `problems_of`.

    Returns:
      Of the problems, each at its first row: those of `fragment_scores.scores` (`valid`
      is the headline), and of each task alone where there are several. Of the samples:
      `readable`, molecules with or without the fragments; `kept`, what was given stands
      where it stood; `termination`; `length`.
    """
    rows = problems_of(examples, vocabulary, asked)
    described = descriptions.describe_all(_smiles(tokens, length, vocabulary))
    answers = fragment_scores.answers(rows, described)
    groups = {}
    for row, problem in enumerate(rows):
        groups.setdefault(problem, []).append(row)
    of_problems = fragment_scores.scores(
        list(groups), [[answers[i] for i in members] for members in groups.values()]
    )
    starts = np.array([members[0] for members in groups.values()], int)
    names = np.array([problem.task for problem in groups])
    tasks = [name for name in fragment_constraints.TASKS if name in names]
    result = {
        name: _at(score, starts, len(rows), True) for name, score in of_problems.items()
    }
    for task in tasks if len(set(names)) > 1 else ():
        result |= {
            f"{task}/{name}": _at(score, starts, len(rows), names == task)
            for name, score in of_problems.items()
        }
    return result | {
        "readable": _rate([d is not None for d in described]),
        "kept": _rate(_kept(examples, tokens, length)),
        "termination": _rate(stopped),
        "length": Score(np.asarray(length, np.float64), np.ones(len(rows))),
    }


def _at(score, starts, num_rows, chosen):
    """A score of problems as one of rows."""
    total, count = np.zeros((2, num_rows))
    total[starts], count[starts] = score.total * chosen, score.count * chosen
    return Score(total, count, score.is_rate, is_own=len(starts) == num_rows)


def _rate(values):
    total = np.asarray(values, np.float64)
    return Score(total, np.ones_like(total), is_rate=True)


def _smiles(tokens, length, vocabulary):
    texts = molecule_samples.texts_of(tokens, length, vocabulary)
    return [molecule_samples.smiles_of(text, "safe") for text in texts]


def _kept(examples, tokens, length):
    """Whether what is anchored, a beginning, stands in each sample."""
    anchored = np.asarray(examples.anchored)
    same = np.asarray(tokens) == np.asarray(examples.tokens)
    return (same | ~anchored).all(axis=1) & (anchored.sum(axis=1) <= length)


def write(
    examples: Batch,
    tokens: np.ndarray,
    length: np.ndarray,
    step: np.ndarray,
    columns: Mapping[str, Sequence],
    folder: pathlib.Path,
    *,
    vocabulary: smiles.Vocabulary,
    asked: Asked,
    train: Callable[[], Container[str] | None],
) -> list[pathlib.Path]:
    """Writes molecules, what each was asked for, and when which kind of token came.

    Args:
      examples: N rows.
      tokens: int[N, L].
      length: int[N].
      step: int[N, L].
      columns: further numbers of each sample, float[N] by name.
      folder: where to write.
      vocabulary: of the tokens.
      asked: as in `problems_of`.
      train: gives the canonical SMILES of the training set, or None.

    Returns:
      The files of `molecule_samples.write`; the table says the task and the fragments,
      and whether the molecule has them (nothing if there is no molecule).
    """
    rows = problems_of(examples, vocabulary, asked)
    texts = _smiles(tokens, length, vocabulary)
    own = {
        "task": [problem.task for problem in rows],
        "fragments": [problem.fragments for problem in rows],
        "has_fragments": [
            int(fragment_constraints.contains(text, problem.fragments))
            if molecules.parse(text)
            else None
            for text, problem in zip(texts, rows, strict=True)
        ],
    }
    return molecule_samples.write(
        examples,
        tokens,
        length,
        step,
        own | dict(columns),
        folder,
        vocabulary=vocabulary,
        notation="safe",
        train=train,
    )
