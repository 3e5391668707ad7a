"""Molecules as strings, SMILES or bracket SAFE: generate new ones, or around fragments.

Nothing is given, so that an example has an empty prompt; a person may put fragments
on the canvas. The string's order of tokens is one of many that write the molecule,
and none of them is natural.
"""

import functools
from collections.abc import Callable, Container, Sequence

import numpy as np

from insertion_jax.chemistry import (
    descriptions,
    fragment_constraints,
    moses,
    safe,
    smiles,
)
from insertion_jax.tasks import (
    molecule_data,
    molecule_report,
    molecule_samples,
)
from insertion_jax.tasks.examples import pad
from insertion_jax.tasks.molecule_data import Prepared, Settings
from insertion_jax.types import (
    NUM_SPECIALS,
    Batch,
    Comparison,
    InputError,
    Score,
    Task,
)

fetch = molecule_data.fetch


def encode(
    rows: Sequence[Sequence[int]],
    max_length: int,
    *,
    num_anchored: Sequence[int] | None = None,
) -> Batch:
    """Rows of token ids as unconditional examples, or with a beginning that stands.

    Args:
      rows: B lists of token ids.
      max_length: L.
      num_anchored: B counts of tokens at the beginning that are on the canvas from
        the start, with nothing to be inserted before the last of them; None for 0.

    Returns:
      A Batch of NumPy arrays with C = 0.

    Raises:
      InputError: a row is longer than L.
    """
    tokens, mask = pad(rows, max_length, "prompt")
    lengths = mask.sum(axis=1, dtype=np.int32)
    standing = np.zeros(len(rows), np.int32) if num_anchored is None else num_anchored
    return with_beginnings(tokens, lengths, np.asarray(standing, np.int32))


def with_beginnings(
    tokens: np.ndarray, lengths: np.ndarray, num_anchored: np.ndarray
) -> Batch:
    """Like `encode`, from int32[B, L] tokens, int32[B] lengths and int32[B] counts."""
    size, standing = tokens.shape[1], num_anchored[:, None]
    return _batch(tokens, lengths)._replace(
        anchored=np.arange(size) < standing,
        closed=np.arange(size + 1) < standing,
    )


def _batch(tokens, lengths):
    """Examples without anchors; what is false everywhere takes no memory."""
    count, size = tokens.shape
    return Batch(
        prompt=np.zeros((count, 0), np.int32),
        prompt_mask=np.zeros((count, 0), bool),
        tokens=tokens,
        length=np.asarray(lengths),
        anchored=np.broadcast_to(False, (count, size)),
        closed=np.broadcast_to(False, (count, size + 1)),
        index=np.arange(count, dtype=np.int32),
    )


def score(
    examples: Batch,
    tokens: np.ndarray,
    length: np.ndarray,
    stopped: np.ndarray,
    *,
    vocabulary: smiles.Vocabulary,
    notation: str,
    train: Callable[[], Container[str] | None],
) -> dict[str, Score]:
    """Scores generated molecules; 3 ms each.

    What compares them with real molecules as a whole, such as the Fréchet ChemNet
    distance, is not among these: see `molecule_report`.

    Args:
      examples: N rows, of which nothing is read.
      tokens: int[N, L].
      length: int[N].
      stopped: bool[N].
      vocabulary: of the tokens.
      notation: "smiles" or "safe".
      train: gives the canonical SMILES of the training set, or None if it is not
        there; then nothing is said of novelty.

    Returns:
      The scores of `moses.scores` (`valid` is the headline), internal diversity,
      `termination` and `length`; for SAFE also `valid_leniently`, what can be made of
      a string if pieces of it may be dropped.
    """
    del examples
    texts = molecule_samples.texts_of(tokens, length, vocabulary)
    described = descriptions.describe_all(
        [molecule_samples.smiles_of(t, notation) for t in texts]
    )
    scores = moses.scores(described, train()) | moses.internal_diversity(described)
    if notation == "safe":
        lenient = [safe.decode_leniently(text) is not None for text in texts]
        scores["valid_leniently"] = _mean_of(np.array(lenient, bool))
    return scores | {
        "termination": _mean_of(np.asarray(stopped, bool)),
        "length": _mean_of(np.asarray(length)),
    }


def _mean_of(values):
    total = values.astype(np.float64)
    return Score(total, np.ones_like(total), is_rate=values.dtype == bool)


def parse_prompt(
    text: str, *, vocabulary: smiles.Vocabulary, notation: str, max_length: int
) -> Batch:
    """Reads what a person wants to have in the molecule.

    Args:
      text: nothing, for any molecule. With SAFE, one or more fragments as SMILES with
        their open ends marked, such as `c1ccccc1[*:1].CCO[*:2]`: they stand at the
        beginning of the string and the model writes the fragments that join them.
      vocabulary: of the model.
      notation: "smiles" or "safe".
      max_length: L.

    Returns:
      A Batch of one row.

    Raises:
      InputError: the fragments cannot be read, have no open end, have a token that the
        vocabulary lacks, or are longer than the canvas; or the model writes SMILES.
    """
    text = text.strip()
    if not text:
        return encode([[]], max_length)
    if notation != "safe":
        raise InputError(
            "This model writes SMILES and takes no fragments: leave the prompt empty, or "
            "use a model of SAFE or of linkers."
        )
    fragment_constraints.check_open_ends(text)
    ids = beginning(text, vocabulary, max_length)
    return encode([ids], max_length, num_anchored=[len(ids)])


def beginning(
    fragments: str, vocabulary: smiles.Vocabulary, max_length: int
) -> list[int]:
    """Token ids of fragments as they stand at the beginning of bracket SAFE.

    Args:
      fragments: SMILES with open ends.
      vocabulary: of the model.
      max_length: L.

    Raises:
      InputError: as `fragment_constraints.beginning`, a token is not in the vocabulary,
        or the canvas has no room.
    """
    ids = vocabulary.encode(fragment_constraints.beginning(fragments))
    check_room(len(ids), max_length)
    return ids


def check_room(num_tokens: int, max_length: int) -> None:
    """Raises an InputError if fragments leave no room for a token on the canvas."""
    if num_tokens >= max_length:
        raise InputError(
            f"The fragments have {num_tokens} tokens, but the canvas of this model has "
            f"room for {max_length}, and something is to be added."
        )


def make(
    source: str = "rdkit",
    *,
    notation: str = "smiles",
    num_train: int | None = None,
    num_held_out: int | None = None,
    max_length: int | None = None,
    vocabulary: str | None = None,
    seed: int = 2025,
    data_dir: str = "data",
) -> Task:
    """Makes the task of generating molecules like those of a set.

    Args:
      source: "rdkit", "moses", or the path of a `.smi`, `.csv` or `.txt` file.
      notation: "smiles" or "safe".
      num_train: as in `molecule_data.Settings`.
      num_held_out: likewise.
      max_length: likewise. With `vocabulary`, the data are not read before a split is
        asked for, so that a trained model samples without them.
      vocabulary: likewise.
      seed: likewise.
      data_dir: where packages were fetched to, and prepared data are kept.

    Returns:
      The task, with splits "train", "validation", "test", and for MOSES
      "test_scaffolds".

    Raises:
      InputError: as `molecule_data.prepare`.
    """
    settings = Settings(
        source, notation, num_train, num_held_out, max_length, vocabulary, seed
    )

    molecule_data.check(settings)

    @functools.cache
    def prepared() -> Prepared:
        return molecule_data.prepare(settings, data_dir, progress=True)

    if vocabulary is None or max_length is None:
        known, size = prepared().vocabulary, prepared().max_length
    else:
        known, size = smiles.vocabulary(vocabulary.split()), max_length

    @functools.cache
    def load(split: str) -> Batch:
        data = prepared()
        if split not in data.tokens:
            raise InputError(
                f"Unknown split {split!r}: the splits are {', '.join(data.tokens)}."
            )
        tokens = data.tokens[split]
        if data.max_length < size:
            tokens = np.pad(tokens, ((0, 0), (0, size - data.max_length)))
        return _batch(tokens, data.lengths[split])

    @functools.cache
    def train() -> frozenset[str] | None:
        # Who compares with published novelty counts all that MOSES ships to train on as
        # known, also the part that is held out here.
        known_splits = ("train", "validation") if source == "moses" else ("train",)
        try:
            texts = prepared().texts
            return frozenset().union(*(texts[split]() for split in known_splits))
        except InputError:
            # A trained model needs no data, but what is novel is then not known.
            if vocabulary is None:
                raise
            return None

    def compare(examples: Batch, tokens: np.ndarray, length: np.ndarray) -> Comparison:
        del examples
        texts = [
            molecule_samples.smiles_of(text, notation)
            for text in molecule_samples.texts_of(tokens, length, known)
        ]
        references = ()
        if source != "moses":
            real = (prepared().texts[split]() for split in ("test", "train"))
            count = molecule_report.num_valid(texts)
            references = (
                molecule_report.reference_of(*real, count, data_dir, progress=True),
            )
        return molecule_report.of_samples(
            texts, data_dir, train=train(), references=references, progress=True
        )

    options = {"vocabulary": known, "notation": notation}
    return Task(
        name=f"molecules_{source if source in ('rdkit', 'moses') else 'own'}_{notation}",
        vocabulary=known.tokens,
        prompt_length=0,
        max_length=size,
        load=load,
        score=functools.partial(score, train=train, **options),
        parse_prompt=functools.partial(parse_prompt, max_length=size, **options),
        format=lambda tokens, length: known.decode(tokens[: int(length)]),
        draw=functools.partial(molecule_samples.draw, **options),
        more_pictures=molecule_samples.more_pictures(**options),
        settings=settings_of(known, size),
        blank=lambda count: encode([[]] * count, size),
        compare=compare,
        write=functools.partial(molecule_samples.write, train=train, **options),
        splits=molecule_data.splits_of(source),
        max_anchored=0,
    )


def settings_of(vocabulary: smiles.Vocabulary, max_length: int) -> dict[str, object]:
    """What the config of a trained model keeps of its data, as `make` takes it."""
    content = vocabulary.tokens[NUM_SPECIALS:]
    return {"vocabulary": " ".join(content), "max_length": max_length}
