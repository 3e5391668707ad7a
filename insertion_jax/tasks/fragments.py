"""Molecules around fragments: link, extend, decorate, grow.

The molecule is written as bracket SAFE. The fragments and a dot stand at its beginning
from the start, and all gaps before that dot's end are closed, so that they stand in
every sample; the model writes the pieces that go with them. A share of the training
examples asks for this, of the others nothing is given. Tasks and metrics are those of
GenMol (arXiv 2501.06158) and LoFlexMDM (arXiv 2602.18695).
"""

import functools

import numpy as np

from insertion_jax.chemistry import smiles
from insertion_jax.tasks import (
    fragment_data,
    fragment_samples,
    molecule_data,
    molecule_samples,
    molecules,
)
from insertion_jax.tasks.fragment_data import FragmentData
from insertion_jax.tasks.molecule_data import Settings
from insertion_jax.types import Batch, InputError, Task

fetch = molecule_data.fetch


def make(
    source: str = "rdkit",
    *,
    test_file: str | None = None,
    samples_per_fragment: int = 1,
    anchored_share: float = 0.5,
    num_train: int | None = None,
    num_held_out: int | None = None,
    max_length: int | None = None,
    vocabulary: str | None = None,
    seed: int = 2025,
    data_dir: str = "data",
) -> Task:
    """Makes the task of writing molecules around fragments.

    A prompt is typed as "c1ccccc1[*:1]" or "c1ccccc1[*:1].CC(=O)N[*:2]".

    Args:
      source: of the molecules, as in `molecules.make`.
      test_file: of fragments, to be the test split in place of parts of molecules that
        were held out; see `files.read_problems`.
      samples_per_fragment: how often each row of the test split comes.
      anchored_share: of the training molecules, how many have a part that is given; of
        those that are held out all have.
      num_train: as in `molecule_data.Settings`.
      num_held_out: likewise.
      max_length: likewise. With `vocabulary`, data are read when a split is asked for.
      vocabulary: likewise.
      seed: of the split, of the order of pieces, and of what is given.
      data_dir: where packages were fetched to, and prepared data are kept.

    Returns:
      The task, with splits "train", "validation" and "test".

    Raises:
      InputError: as `fragment_data.prepare` and `fragment_data.read_asked`.
    """
    settings = Settings(
        source, "safe", num_train, num_held_out, max_length, vocabulary, seed
    )
    molecule_data.check(settings)
    if samples_per_fragment < 1:
        raise InputError(
            f"samples_per_fragment is {samples_per_fragment}, but must be at least 1."
        )
    if not 0 <= anchored_share <= 1:
        raise InputError(f"anchored_share is {anchored_share}; it must lie in [0, 1].")

    @functools.cache
    def prepared() -> FragmentData:
        return fragment_data.prepare(
            settings, data_dir, given_share=anchored_share, progress=True
        )

    is_trained = vocabulary is not None and max_length is not None
    if is_trained:
        known, size = smiles.vocabulary(vocabulary.split()), max_length
    else:
        known, size = prepared().vocabulary, prepared().max_length
    asked = {}

    @functools.cache
    def from_file() -> Batch:
        found = fragment_data.read_asked(
            test_file,
            vocabulary=known,
            max_length=size,
            num_samples=samples_per_fragment,
            seed=seed,
        )
        molecule_data.show(found.notes)
        for row, (ids, problem) in enumerate(
            zip(found.rows, found.problems, strict=True)
        ):
            asked[row, known.decode(ids)] = problem
        return molecules.encode(
            found.rows, size, num_anchored=[len(ids) for ids in found.rows]
        )

    @functools.cache
    def load(split: str) -> Batch:
        if split == "test" and test_file is not None:
            return from_file()
        data = prepared()
        if split not in data.tokens:
            raise InputError(
                f"Unknown split {split!r}: the splits are {', '.join(data.tokens)}."
            )
        columns = (
            np.pad(data.tokens[split], ((0, 0), (0, size - data.max_length))),
            data.lengths[split],
            data.given[split],
        )
        if split == "test" and samples_per_fragment > 1:
            columns = (np.repeat(x, samples_per_fragment, axis=0) for x in columns)
        return molecules.with_beginnings(*columns)

    @functools.cache
    def train() -> frozenset[str] | None:
        try:
            return prepared().train
        except InputError:
            # A trained model needs no data, but what is novel is then not known.
            if not is_trained:
                raise
            return None

    if test_file is not None and not is_trained:
        from_file()  # Bad files are told of before a model is trained.
    options = {"vocabulary": known, "notation": "safe"}
    own = {"vocabulary": known, "asked": asked}
    return Task(
        name=f"fragments_{source if source in ('rdkit', 'moses') else 'own'}",
        vocabulary=known.tokens,
        prompt_length=0,
        max_length=size,
        load=load,
        score=functools.partial(fragment_samples.score, **own),
        parse_prompt=functools.partial(
            molecules.parse_prompt, max_length=size, **options
        ),
        format=lambda tokens, length: known.decode(tokens[: int(length)]),
        draw=functools.partial(molecule_samples.draw, **options),
        more_pictures=molecule_samples.more_pictures(**options),
        settings=molecules.settings_of(known, size),
        write=functools.partial(fragment_samples.write, train=train, **own),
    )
