"""Metrics of linker design, and the baseline that needs no model.

On MOSES a handful of linkers joins most pairs: the amide alone 21 % of the test
pairs, the 125 most frequent 85 %. A model says something only by what it does beyond
them, so recovery is reported by the frequency of the linker, beside the baseline.
"""

import functools
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from rdkit import Chem
from rdkit.Contrib.SA_Score import sascorer

from insertion_jax.chemistry import filters, fragments, survival
from insertion_jax.chemistry.survival import Linked
from insertion_jax.types import Score


class Pair(NamedTuple):
    """Two fragments and what was generated for them.

    Attributes:
      fragments: with `[*:1]` and `[*:2]`.
      samples: one or more.
      molecule: canonical SMILES without stereo marks that the fragments are of, or
        None.
      rank: of its linker among the training linkers, from 1 for the most frequent;
        None if it is not one of them.
    """

    fragments: tuple[str, str]
    samples: Sequence[Linked]
    molecule: str | None = None
    rank: int | None = None


def sample_scores(samples: Sequence[Linked]) -> dict[str, Score]:
    """Rates over N samples.

    Args:
      samples: of any number of pairs.

    Returns:
      `valid`, `survived`, and `survived_of_valid`, each of N numbers.
    """
    valid = _flags(sample.valid for sample in samples)
    survived = _flags(sample.survived for sample in samples)
    return {
        "valid": Score(valid, np.ones_like(valid), is_rate=True),
        "survived": Score(survived, np.ones_like(valid), is_rate=True),
        "survived_of_valid": Score(survived, valid, is_rate=True),
    }


def pair_scores(
    pairs: Sequence[Pair],
    train_linkers: Container[str],
    *,
    ranks: Sequence[int] = (125,),
) -> dict[str, Score]:
    """What P pairs of fragments got.

    Args:
      pairs: each with all of its samples.
      train_linkers: canonical, as of `fragments.plain_linker`.
      ranks: recovery is also given of pairs whose linker is beyond each of these.

    Returns:
      Each of P numbers: `unique`, the share of distinct molecules among the valid ones,
      of pairs that have any; `novel`, the share of the distinct linkers that survived
      that are not those of training; `distinct_linkers`, how many survived;
      `at_least_5_linkers`, whether five did, of pairs with five samples; `recovered`,
      whether the molecule itself is among the samples, of pairs that have one;
      `recovered_rare@k`, the same of pairs whose linker is not among the k most
      frequent of training.
    """
    found = [_distinct(sample.molecule for sample in pair.samples) for pair in pairs]
    linkers = [_distinct(sample.linker for sample in pair.samples) for pair in pairs]
    num_valid = [sum(sample.valid for sample in pair.samples) for pair in pairs]
    num_novel = [len([x for x in them if x not in train_linkers]) for them in linkers]
    num_linkers = _flags(map(len, linkers))
    shares = [len(them) / max(n, 1) for them, n in zip(found, num_valid, strict=True)]
    known = _flags(pair.molecule is not None for pair in pairs)
    recovered = _flags(p.molecule in them for p, them in zip(pairs, found, strict=True))
    result = {
        "unique": Score(_flags(shares), _flags(n > 0 for n in num_valid)),
        "novel": Score(_flags(num_novel), num_linkers, is_rate=True),
        "distinct_linkers": Score(num_linkers, np.ones(len(pairs))),
        "at_least_5_linkers": Score(
            _flags(num_linkers >= 5),
            _flags(len(pair.samples) >= 5 for pair in pairs),
            is_rate=True,
        ),
        "recovered": Score(recovered * known, known, is_rate=True),
    }
    for rank in ranks:
        rare = known * _flags(pair.rank is None or pair.rank > rank for pair in pairs)
        result[f"recovered_rare@{rank}"] = Score(recovered * rare, rare, is_rate=True)
    return result


def _flags(values):
    return np.array(list(values), np.float64)


def _distinct(texts):
    return set(texts) - {None}


def passes_2d_filters(linked: Linked, pair: tuple[str, str]) -> bool:
    """DeLinker's 2D filters (Imrie et al., J. Chem. Inf. Model. 2020); 4 ms.

    They ask little: nearly all molecules of MOSES pass.

    Args:
      linked: a sample.
      pair: its fragments, with `[*:1]` and `[*:2]`.

    Returns:
      Whether both fragments survived, the molecule is easier to make (SA) than the two
      fragments with dummy atoms at their ends, it has no PAINS alert, and the linker no
      ring with a double bond that is not aromatic.
    """
    if not linked.survived:
        return False
    mol = Chem.MolFromSmiles(linked.molecule)
    if sascorer.calculateScore(mol) >= _apart(pair) or filters.has_alert(mol):
        return False
    return not any(
        bond.IsInRing() and bond.GetBondType() == Chem.BondType.DOUBLE
        for bond in Chem.MolFromSmiles(linked.linker).GetBonds()
    )


@functools.lru_cache(maxsize=1024)
def _apart(pair):
    """SA of two fragments."""
    return sascorer.calculateScore(Chem.MolFromSmiles(".".join(pair)))


def linker_counts(cuts: Iterable[fragments.Cut]) -> Counter:
    """How often each linker comes, most frequent first.

    Args:
      cuts: of training molecules.

    Returns:
      Counts of canonical linkers whichever way round they are; ties are in
      alphabetical order.
    """
    counts = Counter(fragments.plain_linker(cut.linker) for cut in cuts)
    return Counter(dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))))


def ranks(counts: Mapping[str, int]) -> dict[str, int]:
    """The rank of each linker, from 1 for the most frequent.

    Args:
      counts: of `linker_counts`.
    """
    return {linker: rank for rank, linker in enumerate(counts, start=1)}


def frequent_linkers(
    counts: Mapping[str, int], pair: tuple[str, str], num_samples: int
) -> list[Linked]:
    """The baseline: the most frequent linkers, each both ways round.

    Args:
      counts: of `linker_counts`.
      pair: fragments with `[*:1]` and `[*:2]`.
      num_samples: how many to give at most; a linker that looks the same from both
        ends is given once.

    Returns:
      What would be samples of a model.
    """
    first, second = fragments.fragment_strings(pair)
    result, seen = [], set()
    for linker in counts:
        for numbered in fragments.numbered_linkers(linker):
            if len(result) == num_samples:
                return result
            text = fragments.linker_string(numbered, pair)
            linked = survival.examine(first, text, second)
            if linked.molecule not in seen or linked.molecule is None:
                seen.add(linked.molecule)
                result.append(linked)
    return result
