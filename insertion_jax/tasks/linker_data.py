"""Molecules cut into two fragments and a linker, as tokens."""

import functools
import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from insertion_jax.chemistry import files, fragments, linker_scores, smiles, workers
from insertion_jax.chemistry.fragments import Cut, CutRule, LinkerStrings
from insertion_jax.tasks import molecule_data, prepared, token_tables
from insertion_jax.tasks.molecule_data import SPLITS, Settings
from insertion_jax.types import NUM_SPECIALS, InputError


class LinkerData(NamedTuple):
    """Splits as token ids.

    Attributes:
      vocabulary: of all of them.
      max_length: L.
      tokens: int32[N, L] of each split: fragment, linker, fragment.
      lengths: int32[N] of each split.
      num_first: int32[N] of each split, tokens of the first fragment.
      num_second: int32[N] of each split, tokens of the second one.
      linkers: reads how often each linker comes in training, most frequent first.
      notes: what was left out, a sentence each.
    """

    vocabulary: smiles.Vocabulary
    max_length: int
    tokens: Mapping[str, np.ndarray]
    lengths: Mapping[str, np.ndarray]
    num_first: Mapping[str, np.ndarray]
    num_second: Mapping[str, np.ndarray]
    linkers: Callable[[], dict[str, int]]
    notes: tuple[str, ...]


def prepare(
    settings: Settings,
    rule: CutRule,
    data_dir: str | os.PathLike,
    *,
    test_file: str | None = None,
    num_workers: int | None = None,
    progress: bool = False,
) -> LinkerData:
    """Cuts molecules, or opens them if that was done before; 10 ms a molecule.

    All cuts of a molecule are trained on; validation and test have one cut of each
    molecule, drawn at random. Fragment pairs of validation and test are taken out of
    training.

    Args:
      settings: of the molecules; `notation` is "smiles", and `max_length` is of the three
        pieces together.
      rule: which cuts count.
      data_dir: as in `molecule_data.prepare`.
      test_file: of molecules with linkers and fragments, which are then the test split.
      num_workers: as in `workers.run`.
      progress: show how far it is, and notes.

    Raises:
      InputError: as `molecule_data.prepare`, and if no molecule can be cut.
    """
    options = {"num_workers": num_workers, "progress": progress}
    # Length and vocabulary are a model's; what is kept serves all models.
    whole = settings._replace(notation="smiles", max_length=None, vocabulary=None)

    def build():
        source = molecule_data.prepare(whole, data_dir, **options)
        return _arrays(source, whole, rule, test_file, options)

    if settings.source == "rdkit" and test_file is None:
        store = prepared.in_memory(build)
    else:
        content = None if test_file is None else molecule_data.bytes_of(test_file)
        folder = molecule_data.folder_of(
            whole, data_dir, "linkers", list(rule), content and content.hex()
        )
        store = prepared.in_folder(folder, build)
    meta = store.meta
    names = ("tokens", "lengths", "first", "second")
    fitted = token_tables.fit(
        {s: {name: store.arrays[f"{s}_{name}"] for name in names} for s in SPLITS},
        smiles.vocabulary(meta["vocabulary"]),
        max_length=settings.max_length,
        vocabulary=settings.vocabulary,
        what="cuts",
    )
    for split in SPLITS:
        if not len(fitted.tables[split]["lengths"]):
            raise InputError(f"No molecule to {split} can be cut as asked for.")
    notes = (*meta["notes"], *fitted.notes)
    if progress:
        molecule_data.show(notes)

    def linkers():
        rows = (line.split("\t") for line in store.texts["linkers"]())
        return {linker: int(number) for linker, number in rows}

    return LinkerData(
        vocabulary=fitted.vocabulary,
        max_length=fitted.max_length,
        tokens={split: table["tokens"] for split, table in fitted.tables.items()},
        lengths={split: table["lengths"] for split, table in fitted.tables.items()},
        num_first={split: table["first"] for split, table in fitted.tables.items()},
        num_second={split: table["second"] for split, table in fitted.tables.items()},
        linkers=linkers,
        notes=notes,
    )


def _arrays(source, settings, rule, test_file, options):
    """What `prepared` keeps."""
    notes = list(source.notes)
    rng = np.random.RandomState(settings.seed)
    cuts = {
        split: workers.run(
            functools.partial(written_cuts, rule=rule),
            source.texts[split](),
            title=f"cutting molecules to {split}",
            **options,
        )
        for split in SPLITS
    }
    chosen = {
        split: [some[rng.randint(len(some))] for some in cuts[split] if some]
        for split in ("validation", "test")
    }
    if test_file is not None:
        lines = files.read_linkers(test_file)
        if lines.bad:
            notes.append(files.report(lines, test_file))
        chosen["test"] = [(cut, fragments.linker_strings(cut)) for cut in lines.values]
    held_out = {cut.fragments for part in chosen.values() for cut, _ in part}
    train = [item for some in cuts["train"] for item in some]
    chosen["train"] = [item for item in train if item[0].fragments not in held_out]
    if removed := len(train) - len(chosen["train"]):
        notes.append(
            f"{removed:,} of {len(train):,} cuts to train have the fragments of a cut "
            "that is held out and were left out."
        )
    tokens = {
        split: [tuple(map(smiles.tokenize, strings)) for _, strings in chosen[split]]
        for split in SPLITS
    }
    for split in SPLITS:
        if not tokens[split]:
            raise InputError(f"No molecule to {split} can be cut as asked for.")
    vocabulary = smiles.vocabulary(
        token
        for part in tokens.values()
        for pieces in part
        for piece in pieces
        for token in piece
    )
    size = max(sum(map(len, pieces)) for part in tokens.values() for pieces in part)
    arrays = {}
    for split, part in tokens.items():
        rows = [vocabulary.encode([*a, *b, *c]) for a, b, c in part]
        padded, lengths = molecule_data.padded(rows, size)
        arrays[f"{split}_tokens"], arrays[f"{split}_lengths"] = padded, lengths
        arrays[f"{split}_first"] = np.array([len(a) for a, _, _ in part], np.int32)
        arrays[f"{split}_second"] = np.array([len(c) for _, _, c in part], np.int32)
    counts: Counter = linker_scores.linker_counts(cut for cut, _ in chosen["train"])
    texts = {"linkers": [f"{linker}\t{number}" for linker, number in counts.items()]}
    meta = {
        "vocabulary": vocabulary.tokens[NUM_SPECIALS:],
        "max_length": size,
        "notes": notes,
    }
    return arrays, texts, meta


def written_cuts(text: str, rule: CutRule) -> list[tuple[Cut, LinkerStrings]]:
    """All cuts of a molecule that a rule allows and that can be written.

    Args:
      text: SMILES.
      rule: which cuts count.
    """
    result = []
    for cut in fragments.double_cuts(text, rule):
        try:
            result.append((cut, fragments.linker_strings(cut)))
        except InputError:
            # None of 1,000 real cuts got here; one less would not matter.
            continue
    return result
