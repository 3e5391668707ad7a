"""Molecules as bracket SAFE of which a beginning is given, and people's problems."""

import functools
import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from insertion_jax.chemistry import (
    files,
    fragment_constraints,
    safe_pieces,
    smiles,
    workers,
)
from insertion_jax.chemistry.files import BadLine, Lines
from insertion_jax.chemistry.fragment_constraints import SUPERSTRUCTURE, Problem
from insertion_jax.tasks import molecule_data, prepared, token_tables
from insertion_jax.tasks.molecule_data import SPLITS, Settings
from insertion_jax.tasks.molecules import beginning
from insertion_jax.types import NUM_SPECIALS, InputError


class FragmentData(NamedTuple):
    """Splits as token ids.

    Attributes:
      vocabulary: of all of them.
      max_length: L.
      tokens: int32[N, L] of each split.
      lengths: int32[N] of each split.
      given: int32[N] of each split, tokens at the beginning that are given.
      train: canonical SMILES of the training set.
    """

    vocabulary: smiles.Vocabulary
    max_length: int
    tokens: Mapping[str, np.ndarray]
    lengths: Mapping[str, np.ndarray]
    given: Mapping[str, np.ndarray]
    train: frozenset[str]


def prepare(
    settings: Settings,
    data_dir: str | os.PathLike,
    *,
    given_share: float,
    num_workers: int | None = None,
    progress: bool = False,
) -> FragmentData:
    """Prepares molecules, or opens them if that was done before.

    The pieces of each come in a random order. Of a share of the training molecules some
    pieces are given; of the others all are to be written. Validation and test have the
    molecules of which something can be given.

    Args:
      settings: of the molecules; `notation` is "safe".
      data_dir: as in `molecule_data.prepare`.
      given_share: of the training molecules.
      num_workers: as in `workers.run`.
      progress: show how far it is, and notes.

    Raises:
      InputError: as `molecule_data.prepare`.
    """
    options = {"num_workers": num_workers, "progress": progress}
    whole = settings._replace(notation="safe", max_length=None, vocabulary=None)

    def build():
        source = molecule_data.prepare(whole, data_dir, **options)
        return _arrays(source, settings.seed, given_share, options)

    if settings.source == "rdkit":
        store = prepared.in_memory(build)
    else:
        folder = molecule_data.folder_of(whole, data_dir, "fragments", given_share)
        store = prepared.in_folder(folder, build)
    fitted = token_tables.fit(
        {
            split: {
                name: store.arrays[f"{split}_{name}"]
                for name in ("tokens", "lengths", "given")
            }
            for split in SPLITS
        },
        smiles.vocabulary(store.meta["vocabulary"]),
        max_length=settings.max_length,
        vocabulary=settings.vocabulary,
        what="molecules",
    )
    for split in SPLITS:
        if not len(fitted.tables[split]["lengths"]):
            raise InputError(f"No molecule to {split} can be cut into fragments.")
    if progress:
        molecule_data.show((*store.meta["notes"], *fitted.notes))
    columns = {
        name: {split: table[name] for split, table in fitted.tables.items()}
        for name in ("tokens", "lengths", "given")
    }
    return FragmentData(
        vocabulary=fitted.vocabulary,
        max_length=fitted.max_length,
        train=frozenset(store.texts["train"]()),
        **columns,
    )


def _arrays(source, seed, given_share, options):
    """What `prepared` keeps."""
    arrays = {}
    for number, split in enumerate(SPLITS):
        share = given_share if split == "train" else 1.0
        rows = [
            (row, [source.vocabulary.tokens[i] for i in tokens[:length]])
            for row, (tokens, length) in enumerate(
                zip(source.tokens[split], source.lengths[split], strict=True)
            )
        ]
        found = workers.run(
            functools.partial(_rearranged, seed=(seed, number), given_share=share),
            rows,
            title=f"choosing fragments to {split}",
            **options,
        )
        if split != "train":
            found = [(tokens, given) for tokens, given in found if given]
        ids = [source.vocabulary.encode(tokens) for tokens, _ in found]
        padded, lengths = molecule_data.padded(ids, source.max_length)
        arrays |= {f"{split}_tokens": padded, f"{split}_lengths": lengths}
        arrays[f"{split}_given"] = np.array([given for _, given in found], np.int32)
    meta = {
        "vocabulary": source.vocabulary.tokens[NUM_SPECIALS:],
        "notes": source.notes,
    }
    return arrays, {"train": source.texts["train"]()}, meta


def _rearranged(row, *, seed, given_share):
    number, tokens = row
    rng = np.random.default_rng([*seed, number])
    return safe_pieces.rearranged(tokens, rng, given_share=given_share)


class Asked(NamedTuple):
    """A person's problems, each as often as it is to be sampled for.

    Attributes:
      rows: N lists of token ids, all of them given.
      problems: N of them.
      notes: what was left out, a sentence each.
    """

    rows: list[list[int]]
    problems: list[Problem]
    notes: tuple[str, ...]


def read_asked(
    path: str | os.PathLike,
    *,
    vocabulary: smiles.Vocabulary,
    max_length: int,
    num_samples: int,
    seed: int,
) -> Asked:
    """Reads a file of fragments, as of `files.read_problems`.

    Args:
      path: of the file.
      vocabulary: of the model.
      max_length: L.
      num_samples: of each problem. A superstructure's open ends are drawn anew for each.
      seed: of the open ends.

    Raises:
      InputError: the file cannot be read, or no line of it can be used.
    """
    lines = files.read_problems(path)
    rows, problems, bad = [], [], list(lines.bad)
    for number, asked in zip(lines.numbers, lines.values, strict=True):
        rng = np.random.default_rng([seed, number])
        try:
            written = [
                (beginning(_drawn(one, rng), vocabulary, max_length), one)
                for one in asked
                for _ in range(num_samples)
            ]
        except InputError as error:
            bad.append(BadLine(number, "", str(error)))
            continue
        rows += [ids for ids, _ in written]
        problems += [one for _, one in written]
    bad.sort()
    if not rows:
        raise InputError(
            f"{path} has no fragment that this model can be given. Line "
            f"{bad[0].number}: {bad[0].reason}"
        )
    good = [n for n in lines.numbers if n not in {line.number for line in bad}]
    notes = (files.report(Lines(good, good, bad), path),) if bad else ()
    return Asked(rows, problems, notes)


def _drawn(problem, rng):
    if problem.task == SUPERSTRUCTURE and "*" not in problem.fragments:
        return fragment_constraints.with_open_ends(problem.fragments, rng)
    return problem.fragments
