"""Molecules to train on: read, made canonical, split and tokenised, once.

What comes out lies in a folder of its own and is read through a memory map. The
folder's name has the hash of everything that decides what is in it, the version of
rdkit among it.
"""

import array
import hashlib
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from insertion_jax.chemistry import (
    downloads,
    files,
    molecules,
    rdkit_molecules,
    safe,
    smiles,
    workers,
)
from insertion_jax.tasks import prepared, token_tables
from insertion_jax.tasks.examples import pad
from insertion_jax.types import NUM_SPECIALS, PAD_ID, InputError

# The number is the format's of the prepared folder, and a part of its name.
_FORMATS = {"smiles": 1, "safe": 2}
NOTATIONS = tuple(_FORMATS)
SPLITS = ("train", "validation", "test")  # of every source; see `splits_of`

_HELD_OUT_SHARE = 0.1
_MAX_HELD_OUT = 10_000

# MD5 of the files of GuacaMol (Brown et al., 2019), as its authors published them.
GUACAMOL = {
    "05ad85d871958a05c02ab51a4fde8530": "train",
    "e53db4bff7dc4784123ae6df72e3b1f0": "validation",
    "677b757ccec4809febd83850b43e1616": "test",
}


class Prepared(NamedTuple):
    """Splits as token ids.

    Attributes:
      vocabulary: of all of them.
      max_length: L.
      tokens: int32[N, L] of each split, right-padded, perhaps a memory map.
      lengths: int32[N] of each split.
      texts: for each split a function that reads its canonical SMILES, those that are
        too long too.
      notes: what was left out, a sentence each.
    """

    vocabulary: smiles.Vocabulary
    max_length: int
    tokens: Mapping[str, np.ndarray]
    lengths: Mapping[str, np.ndarray]
    texts: Mapping[str, Callable[[], list[str]]]
    notes: tuple[str, ...]


class Settings(NamedTuple):
    """What decides which molecules are in which split, and how they are written.

    Attributes:
      source: "rdkit" (10,000 molecules that come with rdkit), "moses", or the path of
        a file of molecules; `files.read_molecules` says of what kind.
      notation: "smiles" or "safe".
      num_train: molecules to train on at most; None for all.
      num_held_out: molecules in validation, and in each test set; None for a tenth in
        validation, but at most 10,000, and likewise in test where the source has no test
        set of its own, else for all of it.
      max_length: tokens at most: longer molecules are left out, and counted. None for
        as many as the longest has.
      vocabulary: content tokens, separated by blanks, of a model that is there already;
        None for those of the molecules.
      seed: of the split, and of the spelling of SAFE.
    """

    source: str = "rdkit"
    notation: str = "smiles"
    num_train: int | None = None
    num_held_out: int | None = None
    max_length: int | None = None
    vocabulary: str | None = None
    seed: int = 2025


def prepare(
    settings: Settings,
    data_dir: str | os.PathLike,
    *,
    num_workers: int | None = None,
    progress: bool = False,
) -> Prepared:
    """Prepares molecules, or opens them if that was done before.

    For MOSES as SMILES this takes 10 minutes of a core, most of it to make the strings
    canonical by the rdkit that is installed, and 500 MB on disk; as SAFE, a core and
    3 ms a molecule. What is prepared is read in some seconds.

    Args:
      settings: what to prepare.
      data_dir: where packages were fetched to; prepared data are kept in its folder
        "prepared". What comes with rdkit is kept in memory instead.
      num_workers: as in `workers.run`.
      progress: show how far it is, and notes.

    Returns:
      The splits "train", "validation" and "test", and "test_scaffolds" of MOSES.

    Raises:
      InputError: a setting out of range, a source that cannot be read, or a token that
        the given vocabulary does not have.
    """
    check(settings)
    options = {"num_workers": num_workers, "progress": progress}
    # Length and vocabulary are a model's; what is kept serves all models.
    whole = settings._replace(max_length=None, vocabulary=None)

    def build():
        return _arrays(*_tokenised(whole, data_dir, options))

    if settings.source == "rdkit":
        store = prepared.in_memory(build)
    else:
        store = prepared.in_folder(folder_of(whole, data_dir, "molecules"), build)
    meta = store.meta
    fitted = token_tables.fit(
        {
            split: {
                name: store.arrays[f"{split}_{name}"] for name in ("tokens", "lengths")
            }
            for split in meta["splits"]
        },
        smiles.vocabulary(meta["vocabulary"]),
        max_length=settings.max_length,
        vocabulary=settings.vocabulary,
        what="molecules",
    )
    for split in SPLITS:
        if not len(fitted.tables[split]["lengths"]):
            raise InputError(
                f"{settings.source} has too few molecules for the split {split!r}."
            )
    notes = (*meta["notes"], *fitted.notes)
    if progress:
        show(notes)
    return Prepared(
        vocabulary=fitted.vocabulary,
        max_length=fitted.max_length,
        tokens={split: table["tokens"] for split, table in fitted.tables.items()},
        lengths={split: table["lengths"] for split, table in fitted.tables.items()},
        texts={s: store.texts[s] for s in meta["splits"]},
        notes=notes,
    )


def splits_of(source: str) -> tuple[str, ...]:
    """The names of a source's splits; MOSES has a second test set, of other scaffolds.

    Args:
      source: as in `Settings`.
    """
    return (*SPLITS, "test_scaffolds") if source == "moses" else SPLITS


def fetch(source: str, data_dir: str | os.PathLike) -> list[str]:
    """Downloads the packages that a source and its metrics need and that are missing.

    Args:
      source: as in `Settings`.
      data_dir: where to.

    Returns:
      A line about each download.

    Raises:
      InputError: pip fails.
    """
    wanted = {"chemnet": downloads.CHEMNET_WEIGHTS}
    if source == "moses":
        wanted = {"moses": downloads.MOSES_SPLITS["test"]} | wanted
    lines = []
    for name, file in wanted.items():
        try:
            downloads.read(file, data_dir)
        except InputError:
            path = downloads.fetch(name, data_dir)
            package = downloads.PACKAGES[name]
            lines.append(f"Fetched {package.title} to {path} ({package.licence}).")
    return lines


def show(notes: Sequence[str]) -> None:
    """Prints notes to where progress goes."""
    for note in notes:
        print(note, file=sys.stderr)


def check(settings: Settings) -> None:
    """Raises an InputError if a setting is out of range."""
    if settings.notation not in NOTATIONS:
        raise InputError(
            f"Unknown notation {settings.notation!r}: allowed are "
            f"{' and '.join(NOTATIONS)}."
        )
    for name in ("num_train", "num_held_out", "max_length"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}, but must be at least 1.")


def folder_of(
    settings: Settings, data_dir: str | os.PathLike, what: str, *others
) -> pathlib.Path:
    """The folder for what is prepared of a source; its name has a hash of all of it.

    Args:
      settings: of the molecules.
      data_dir: of the user.
      what: is prepared of them.
      *others: what else decides.

    Raises:
      InputError: the source cannot be read.
    """
    if settings.source == "moses":
        content = downloads.PACKAGES["moses"].sha256
    elif settings.source == "rdkit":
        content = ""
    else:
        content = hashlib.sha256(bytes_of(settings.source)).hexdigest()
    key = prepared.key_of(
        _FORMATS[settings.notation],
        what,
        content,
        molecules.RDKIT_VERSION,
        *settings[1:],
        *others,
    )
    stem = pathlib.Path(settings.source).name.split(".")[0]
    return pathlib.Path(data_dir, "prepared", f"{stem}-{what}-{key}")


def bytes_of(path: str | os.PathLike) -> bytes:
    """The content of a file; raises an InputError if it cannot be read."""
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}; a source is moses, rdkit, or the "
            "path of a file of molecules."
        ) from error


def _tokenised(settings, data_dir, options):
    """Vocabulary, texts, tokens and lengths of each split, and notes."""
    splits, notes = _splits(settings, data_dir, options)
    ids, rows = {}, {}
    for split, texts in splits.items():
        if settings.notation == "safe":
            texts = workers.run(
                safe.encode, texts, title=f"writing SAFE of {split}", **options
            )
        rows[split] = _flat(texts, ids)
    for split in SPLITS:
        if not splits[split]:
            raise InputError(
                f"{settings.source} has too few molecules for the split {split!r}."
            )
    vocabulary = smiles.vocabulary(ids)
    final = np.array([vocabulary.ids[token] for token in ids], np.int32)
    rows = {
        split: (final[tokens], lengths) for split, (tokens, lengths) in rows.items()
    }
    return vocabulary, splits, rows, notes


def _flat(texts, ids):
    """The tokens of all texts one after another, and int32[N] how many each has.

    A list for each of two million molecules would take gigabytes. Tokens are numbered as
    they come; `ids` has and gets the numbers.
    """
    tokens, lengths = array.array("i"), array.array("i")
    for text in texts:
        row = smiles.tokenize(text)
        tokens.extend([ids.setdefault(token, len(ids)) for token in row])
        lengths.append(len(row))
    return np.array(tokens, np.int32), np.array(lengths, np.int32)


def _splits(settings, data_dir, options):
    """Canonical SMILES of each split, and notes."""
    rng, notes = np.random.RandomState(settings.seed), []
    if settings.source == "moses":
        raw = {s: downloads.moses_smiles(s, data_dir) for s in downloads.MOSES_SPLITS}
        if settings.num_train is not None:
            # Molecules that are not used need not be made canonical.
            count = settings.num_train + _num_held_out(settings, len(raw["train"]))
            order = rng.permutation(len(raw["train"]))[:count]
            raw["train"] = [raw["train"][i] for i in order]
        if settings.num_held_out is not None:
            for held_out in ("test", "test_scaffolds"):
                order = rng.permutation(len(raw[held_out]))[: settings.num_held_out]
                raw[held_out] = [raw[held_out][i] for i in order]
        splits = {s: _canonical(s, texts, notes, options) for s, texts in raw.items()}
    elif settings.source == "rdkit":
        texts = _canonical("all", rdkit_molecules.screening(), notes, options)
        splits = {"train": texts}
    else:
        splits = _splits_of_file(settings.source, notes, options)
    for held_out in ("test", "validation"):
        if held_out not in splits:
            _hold_out(splits, held_out, settings, rng)
    if settings.num_train is not None:
        splits["train"] = splits["train"][: settings.num_train]
    return splits, notes


def _hold_out(splits, held_out, settings, rng):
    train = splits["train"]
    count = min(_num_held_out(settings, len(train)), len(train) - 1)
    order = rng.permutation(len(train))
    splits[held_out] = [train[i] for i in order[:count]]
    splits["train"] = [train[i] for i in order[count:]]


def _num_held_out(settings, total):
    if settings.num_held_out is not None:
        return settings.num_held_out
    return min(max(int(total * _HELD_OUT_SHARE), 1), _MAX_HELD_OUT)


def _canonical(split, texts, notes, options):
    found = workers.run(
        molecules.canonical, texts, title=f"reading molecules to {split}", **options
    )
    good = [text for text in found if text is not None]
    if bad := len(found) - len(good):
        notes.append(
            f"{bad:,} of {len(found):,} molecules to {split} cannot be read by this rdkit."
        )
    return good


def _splits_of_file(path, notes, options):
    """One split of a person's file; three if it is GuacaMol's, by their hashes."""
    paths = {"train": path}
    if _md5(path) in GUACAMOL:
        siblings = sorted(pathlib.Path(path).parent.glob("*"))
        hashes = {GUACAMOL.get(_md5(p)): p for p in siblings if p.is_file()}
        paths = {split: hashes[split] for split in SPLITS if split in hashes}
        if "train" not in paths:
            raise InputError(
                f"{path} is the {GUACAMOL[_md5(path)]} split of GuacaMol, but the "
                "folder does not have its training split."
            )
        notes.append(f"{path} is GuacaMol's; so are its splits {', '.join(paths)}.")
    splits = {}
    for split, name in paths.items():
        lines = files.read_molecules(name, **options)
        if lines.bad:
            notes.append(files.report(lines, name))
        # A molecule that comes twice may not be in two splits.
        splits[split] = list(dict.fromkeys(lines.values))
        if repeated := len(lines.values) - len(splits[split]):
            notes.append(f"{name}: {repeated:,} lines repeat a molecule.")
    return splits


def _md5(path):
    return hashlib.md5(bytes_of(path), usedforsecurity=False).hexdigest()


def _arrays(vocabulary, splits, rows, notes):
    """What `prepared` keeps."""
    size = int(max(lengths.max(initial=0) for _, lengths in rows.values()))
    arrays = {}
    for split, (flat, lengths) in rows.items():
        mask = np.arange(size) < lengths[:, None]
        tokens = np.full(mask.shape, PAD_ID, np.int32)
        tokens[mask] = flat
        arrays |= {f"{split}_tokens": tokens, f"{split}_lengths": lengths}
    meta = {
        "vocabulary": vocabulary.tokens[NUM_SPECIALS:],
        "max_length": size,
        "splits": list(splits),
        "notes": notes,
        "rdkit": molecules.RDKIT_VERSION,
    }
    return arrays, splits, meta


def padded(
    rows: Sequence[Sequence[int]], max_length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Token ids int32[N, L], right-padded, and int32[N] lengths of rows.

    Args:
      rows: N lists of ids.
      max_length: L.

    Raises:
      InputError: a row is longer.
    """
    tokens, mask = pad(rows, max_length, "molecule")
    return tokens, mask.sum(axis=1, dtype=np.int32)
