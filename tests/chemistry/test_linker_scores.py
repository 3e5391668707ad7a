"""Metrics of linkers by hand, and the baseline on real molecules."""

import pytest

from insertion_jax import evaluation
from insertion_jax.chemistry import fragments, linker_scores, rdkit_molecules, survival
from insertion_jax.chemistry.linker_scores import Pair

FRAGMENTS = fragments.parse_fragments("c1ccccc1*.*C1CC1")
STRINGS = fragments.fragment_strings(FRAGMENTS)


def examine(linker):
    return survival.examine(STRINGS[0], linker, STRINGS[1])


def values(scores):
    return {name: evaluation.estimate(s).value for name, s in scores.items()}


def test_scores():
    ethyl, amide = examine("CC"), examine("C(=O)N")
    spoilt, broken = examine("CC="), examine("C(")
    pairs = [
        Pair(FRAGMENTS, [ethyl, ethyl, amide, broken], ethyl.molecule, rank=2),
        Pair(FRAGMENTS, [amide, spoilt, broken], ethyl.molecule, rank=200),
        Pair(FRAGMENTS, [amide], amide.molecule, rank=None),
        Pair(FRAGMENTS, [broken]),
    ]
    samples = [sample for pair in pairs for sample in pair.samples]
    assert values(linker_scores.sample_scores(samples)) == {
        "valid": pytest.approx(6 / 9),
        "survived": pytest.approx(5 / 9),
        "survived_of_valid": pytest.approx(5 / 6),
    }
    found = values(linker_scores.pair_scores(pairs, {"*CC*"}, ranks=(1, 125)))
    assert found == {
        # Of the pairs: ethyl and amide, amide, amide, nothing.
        "novel": pytest.approx(3 / 4),
        "unique": pytest.approx((2 / 3 + 1 + 1) / 3),
        "distinct_linkers": pytest.approx((2 + 1 + 1 + 0) / 4),
        "at_least_5_linkers": pytest.approx(float("nan"), nan_ok=True),
        "recovered": pytest.approx(2 / 3),
        "recovered_rare@1": pytest.approx(2 / 3),
        "recovered_rare@125": pytest.approx(1 / 2),
    }


def test_five_linkers_are_enough():
    samples = [examine("C" * length) for length in (1, 2, 3, 4, 5)]
    pairs = [
        Pair(FRAGMENTS, samples),
        Pair(FRAGMENTS, [*samples[1:], samples[1]]),
        Pair(FRAGMENTS, samples[1:]),  # could not have five
    ]
    found = values(linker_scores.pair_scores(pairs, {}))
    assert found["at_least_5_linkers"] == 0.5


@pytest.fixture(scope="module")
def cuts():
    return [
        cut
        for text in rdkit_molecules.screening()[:100]
        for cut in fragments.double_cuts(text)
    ]


def test_counts_and_ranks(cuts):
    counts = linker_scores.linker_counts(cuts)
    assert sum(counts.values()) == len(cuts)
    numbers = list(counts.values())
    assert numbers == sorted(numbers, reverse=True)
    ranks = linker_scores.ranks(counts)
    assert list(ranks.values()) == list(range(1, len(counts) + 1))


def test_frequent_linkers_recover_what_they_are(cuts):
    counts = linker_scores.linker_counts(cuts)
    ranks = linker_scores.ranks(counts)
    for cut in cuts[:3]:
        samples = linker_scores.frequent_linkers(counts, cut.fragments, 200)
        rank = ranks[fragments.plain_linker(cut.linker)]
        pair = Pair(cut.fragments, samples, cut.molecule, rank)
        assert all(sample.survived for sample in samples)
        found = values(linker_scores.pair_scores([pair], counts))
        assert found["recovered"] == found["unique"] == 1
        assert found["novel"] == 0
        # Both ways round: fewer samples than twice the rank may miss it.
        few = linker_scores.frequent_linkers(counts, cut.fragments, 2 * rank)
        assert len(few) <= 2 * rank
        assert cut.molecule in {sample.molecule for sample in few}
    none = linker_scores.frequent_linkers({"*CC*": 1}, FRAGMENTS, 10)
    assert [sample.linker for sample in none] == ["*CC*"]


def test_2d_filters(cuts):
    passed = [
        linker_scores.passes_2d_filters(
            survival.examine(*fragments.linker_strings(cut)), cut.fragments
        )
        for cut in cuts[:20]
    ]
    assert sum(passed) >= 15


@pytest.mark.parametrize(
    ("linker", "passes"),
    [
        ("CC", True),
        ("-c3ccc(cc3)", True),
        ("C3C=CC(CC3)", False),
        ("CC=", False),
        ("C(", False),
        ("N=N", False),
    ],
)
def test_each_2d_filter(linker, passes):
    # A ring with a double bond; no survival; not valid; PAINS (an azo compound).
    pair = fragments.parse_fragments("c1ccc(N(C)C)cc1*.*c1ccccc1")
    strings = fragments.fragment_strings(pair)
    linked = survival.examine(strings[0], linker, strings[1])
    assert linker_scores.passes_2d_filters(linked, pair) is passes
