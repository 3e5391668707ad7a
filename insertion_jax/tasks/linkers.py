"""Linker design: join two fragments of a molecule.

Both fragments stand on the canvas from the start, with nothing to be inserted but
between them, so that they stand in every sample. Whether they survive as a part of
the molecule is another question, which the metrics answer. The details of the linker
experiment of the Insertion Process (arXiv 2606.02133) are not public; cuts and
metrics follow DeLinker (Imrie et al., J. Chem. Inf. Model. 2020).
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from insertion_jax.chemistry import (
    fragments,
    linker_scores,
    smiles,
)
from insertion_jax.chemistry.fragments import CutRule
from insertion_jax.chemistry.linker_scores import Pair
from insertion_jax.tasks import (
    linker_baseline,
    linker_data,
    linker_samples,
    molecule_data,
    molecule_samples,
    molecules,
)
from insertion_jax.tasks.linker_data import LinkerData
from insertion_jax.tasks.molecule_data import Settings
from insertion_jax.types import Batch, Comparison, InputError, Score, Task

fetch = molecule_data.fetch

# To cut all 176,000 takes half an hour.
_NUM_HELD_OUT_OF_MOSES = 2_000


def encode(
    tokens: np.ndarray,
    lengths: np.ndarray,
    num_first: np.ndarray,
    num_second: np.ndarray,
) -> Batch:
    """Fragment, linker, fragment as examples with both fragments anchored.

    Args:
      tokens: int32[B, L].
      lengths: int32[B].
      num_first: int32[B], tokens of the first fragment.
      num_second: int32[B], tokens of the second one.

    Returns:
      A Batch of NumPy arrays with C = 0; all gaps but the one between the fragments
      are closed.
    """
    count, size = tokens.shape
    first, second = num_first[:, None], num_second[:, None]
    length = np.asarray(lengths)[:, None]
    place = np.arange(size)
    ends = (place >= length - second) & (place < length)
    return Batch(
        prompt=np.zeros((count, 0), np.int32),
        prompt_mask=np.zeros((count, 0), bool),
        tokens=tokens,
        length=np.asarray(lengths),
        anchored=(place < first) | ends,
        closed=np.arange(size + 1) != first,
        index=np.arange(count, dtype=np.int32),
    )


def score(
    examples: Batch,
    tokens: np.ndarray,
    length: np.ndarray,
    stopped: np.ndarray,
    *,
    vocabulary: smiles.Vocabulary,
    linkers: Callable[[], Mapping[str, int]],
    ranks: Sequence[int] = (125,),
) -> dict[str, Score]:
    """Scores generated linkers; 3 ms each.

    Rows with the same fragments are samples of one pair, wherever they stand.

    Args:
      examples: N rows, the fragments and, as target, the molecules they are of.
      tokens: int[N, L].
      length: int[N].
      stopped: bool[N].
      vocabulary: of the tokens.
      linkers: gives the counts of the training linkers, most frequent first.
      ranks: as in `linker_scores.pair_scores`.

    Returns:
      Of the samples: `survived` (the headline), `valid`, `survived_of_valid`, `kept` (both
      fragments stand where they stood), `passes_2d_filters`, `termination`. Of the
      pairs, each at its first row: those of `linker_scores.pair_scores`.
    """
    rows = linker_samples.rows_of(examples, tokens, length, vocabulary)
    counts = linkers()
    rank_of = linker_scores.ranks(counts)
    samples = [row.examine() for row in rows]
    pairs, starts = [], []
    for members in linker_samples.groups_of(rows):
        target = rows[members[0]].target()
        pairs.append(
            Pair(
                rows[members[0]].pair(),
                [samples[i] for i in members],
                target.molecule,
                rank_of.get(target.linker),
            )
        )
        starts.append(members[0])
    passed = [
        linker_scores.passes_2d_filters(sample, row.pair())
        for sample, row in zip(samples, rows, strict=True)
    ]
    result = linker_scores.sample_scores(samples)
    result = {"survived": result.pop("survived")} | result
    result |= {
        "kept": _rate([row.kept for row in rows]),
        "passes_2d_filters": _rate(passed),
    }
    for name, of_pair in linker_scores.pair_scores(pairs, counts, ranks=ranks).items():
        total, count = np.zeros((2, len(rows)))
        total[starts], count[starts] = of_pair.total, of_pair.count
        is_own = len(starts) == len(rows)
        result[name] = Score(total, count, of_pair.is_rate, is_own=is_own)
    return result | {"termination": _rate(stopped)}


def _rate(values):
    total = np.asarray(values, np.float64)
    return Score(total, np.ones_like(total), is_rate=True)


def parse_prompt(text: str, *, vocabulary: smiles.Vocabulary, max_length: int) -> Batch:
    """Reads two fragments that a person typed, like "c1ccccc1[*:1].CC(=O)N[*:2]".

    Args:
      text: SMILES of both, separated by a dot, with an attachment point each.
      vocabulary: of the model.
      max_length: L.

    Returns:
      A Batch of one row, whose target is both fragments without a linker.

    Raises:
      InputError: as `fragments.parse_fragments`; or a token is not in the vocabulary, or
        the canvas has no room for a linker.
    """
    strings = fragments.fragment_strings(fragments.parse_fragments(text))
    first, second = (vocabulary.encode(smiles.tokenize(part)) for part in strings)
    molecules.check_room(len(first) + len(second), max_length)
    tokens, lengths = molecule_data.padded([first + second], max_length)
    return encode(tokens, lengths, np.array([len(first)]), np.array([len(second)]))


def make(
    source: str = "rdkit",
    *,
    test_file: str | None = None,
    samples_per_pair: int = 1,
    min_linker: int = fragments.DELINKER.min_linker,
    min_fragment: int = fragments.DELINKER.min_fragment,
    min_path: int = fragments.DELINKER.min_path,
    linker_is_smallest: bool = fragments.DELINKER.linker_is_smallest,
    num_train: int | None = None,
    num_held_out: int | None = None,
    max_length: int | None = None,
    vocabulary: str | None = None,
    seed: int = 2025,
    data_dir: str = "data",
) -> Task:
    """Makes the task of joining two fragments.

    A prompt is typed as "c1ccccc1[*:1].CC(=O)N[*:2]".

    Args:
      source: of the molecules to cut, as in `molecules.make`.
      test_file: of molecules, linkers and fragments, to be the test split.
      samples_per_pair: how often each pair of the test split comes in a row.
      min_linker: as in `fragments.CutRule`, like the next three.
      min_fragment: likewise.
      min_path: likewise.
      linker_is_smallest: likewise.
      num_train: molecules to cut for training at most.
      num_held_out: molecules to cut for validation, and for test; None for a tenth, but
        at most 10,000, and for 2,000 of MOSES.
      max_length: tokens at most. With `vocabulary`, data are read when a split is asked
        for.
      vocabulary: content tokens of a trained model, separated by blanks.
      seed: of the split, and of the cuts that are held out.
      data_dir: where packages were fetched to, and prepared data are kept.

    Returns:
      The task, with splits "train", "validation" and "test".

    Raises:
      InputError: as `linker_data.prepare`.
    """
    if num_held_out is None and source == "moses":
        num_held_out = _NUM_HELD_OUT_OF_MOSES
    settings = Settings(
        source,
        num_train=num_train,
        num_held_out=num_held_out,
        max_length=max_length,
        vocabulary=vocabulary,
        seed=seed,
    )
    molecule_data.check(settings)
    if samples_per_pair < 1:
        raise InputError(
            f"samples_per_pair is {samples_per_pair}, but must be at least 1."
        )
    rule = CutRule(min_linker, min_fragment, min_path, linker_is_smallest)

    @functools.cache
    def prepared() -> LinkerData:
        return linker_data.prepare(
            settings, rule, data_dir, test_file=test_file, progress=True
        )

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
        wider = ((0, 0), (0, size - data.max_length))
        columns = (
            np.pad(data.tokens[split], wider) if wider[1][1] else data.tokens[split],
            data.lengths[split],
            data.num_first[split],
            data.num_second[split],
        )
        if split == "test" and samples_per_pair > 1:
            columns = (np.repeat(x, samples_per_pair, axis=0) for x in columns)
        return encode(*columns)

    @functools.cache
    def linkers() -> dict[str, int]:
        try:
            return prepared().linkers()
        except InputError:
            # A trained model needs no data; then every linker counts as novel.
            if vocabulary is None:
                raise
            return {}

    def compare(examples: Batch, tokens: np.ndarray, length: np.ndarray) -> Comparison:
        groups = linker_samples.groups_of(
            linker_samples.rows_of(examples, tokens, length, known)
        )
        pairs = Batch(*(np.asarray(x)[[rows[0] for rows in groups]] for x in examples))
        baseline = linker_baseline.scores(
            pairs,
            vocabulary=known,
            counts=linkers(),
            # As many tries as the model has; a pair that comes twice has twice as many.
            num_samples=list(map(len, groups)),
            progress=True,
        )
        scores = {f"most frequent: {name}": score for name, score in baseline.items()}
        return Comparison(scores, {}, ())

    return Task(
        name=f"linkers_{source if source in ('rdkit', 'moses') else 'own'}",
        vocabulary=known.tokens,
        prompt_length=0,
        max_length=size,
        load=load,
        score=functools.partial(score, vocabulary=known, linkers=linkers),
        parse_prompt=functools.partial(parse_prompt, vocabulary=known, max_length=size),
        format=lambda tokens, length: known.decode(tokens[: int(length)]),
        draw=functools.partial(
            molecule_samples.draw, vocabulary=known, notation="smiles"
        ),
        more_pictures=molecule_samples.more_pictures(known, "smiles"),
        settings=molecules.settings_of(known, size),
        compare=compare,
        write=functools.partial(
            linker_samples.write, vocabulary=known, linkers=linkers
        ),
    )
