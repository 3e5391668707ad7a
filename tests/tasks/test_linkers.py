"""The linker task on what comes with rdkit: anchors, metrics, a person's fragments."""

import csv
import functools

import numpy as np
import pytest

from insertion_jax import estimates, evaluation, sampling, types
from insertion_jax.chemistry import molecules as chemistry_molecules
from insertion_jax.tasks import examples, linker_data, linkers, molecule_data
from insertion_jax.types import InputError, Score, Task

PAIR = "c1ccccc1[*:1].C1CC1[*:2]"


@pytest.fixture(scope="module", autouse=True)
def few_molecules():
    """150 of rdkit's molecules stand for all, and are cut once by each rule."""
    few = molecule_data.rdkit_molecules.screening()[:150]
    cut_once = functools.cache(linker_data.written_cuts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(molecule_data.rdkit_molecules, "screening", lambda: few)
        patch.setattr(linker_data, "written_cuts", cut_once)
        yield


@pytest.fixture(scope="module")
def task():
    return linkers.make(samples_per_pair=2)


def values(scores):
    return {name: evaluation.estimate(score).value for name, score in scores.items()}


def first_rows(batch, count):
    return type(batch)(*(np.asarray(field)[:count] for field in batch))


def pieces_of(task, batch, row):
    tokens, size = batch.tokens[row], int(batch.length[row])
    first = int(np.argmin(batch.closed[row]))
    second = int(batch.anchored[row].sum()) - first
    parts = (
        tokens[:first],
        tokens[first : size - second],
        tokens[size - second : size],
    )
    return tuple(task.format(part, len(part)) for part in parts)


@pytest.mark.parametrize(("num_bounds", "problems"), [(4, 4), (0, 0), (99, 6), (4, 1)])
def test_a_problem_asked_twice_is_bounded_once(task, num_bounds, problems):
    """Else the interval of the bound would count what it knows twice."""
    method = types.Method(
        init=None,
        loss=None,
        bound=lambda params, example, key: {"elbo": 1.0 * example.tokens.sum()},
        sample=lambda params, example, key, **options: (
            types.Canvas(example.tokens, example.length, example.anchored),
            types.Trace(example.tokens, example.tokens, example.length, True),
        ),
    )
    test = task.load("test")
    if problems == 1:  # all there is
        test = first_rows(test, 1)
        task = task._replace(load=lambda split: test)
    greedy = sampling.SamplingOptions(temperature=1.0, top_p=1.0, greedy=True)
    measure = evaluation.make_evaluation(
        task,
        method,
        "test",
        num_examples=12,
        num_bounds=num_bounds,
        batch_size=5,
        options=greedy,
    )
    found = measure({})
    # The samples are the targets.
    assert found["recovered"].value == 1.0
    # Two samples of a problem are not two that are independent.
    sampled = 1 if problems == 1 else 6
    assert found["survived"][1:3] == estimates.wilson(sampled, sampled)
    if not problems:
        assert "elbo" not in found
        return
    assert found["elbo"].num_examples == problems
    sums = test.tokens[0 : 2 * problems : 2].sum(axis=1)
    assert found["elbo"].value == pytest.approx(sums.mean())


def test_contract(task):
    assert isinstance(task, Task)
    for split in molecule_data.SPLITS:
        batch = task.load(split)
        examples.check(batch, len(task.vocabulary))
        assert batch.tokens.shape == (len(batch.length), task.max_length)
        assert (batch.tokens.dtype, batch.length.dtype) == (np.int32, np.int32)
        # One gap is open, and something goes into it.
        gaps = np.arange(task.max_length + 1) <= batch.anchored.sum(axis=1)[:, None]
        assert ((~batch.closed & gaps).sum(axis=1) == 1).all()
        assert (batch.anchored.sum(axis=1) < batch.length).all()


def test_rows_are_molecules(task):
    batch = task.load("train")
    originals = {
        chemistry_molecules.flat(text)
        for text in molecule_data.rdkit_molecules.screening()
    }
    for row in range(0, len(batch.length), 5):
        text = task.format(batch.tokens[row], batch.length[row])
        assert chemistry_molecules.flat(text) in originals
        first, linker, second = pieces_of(task, batch, row)
        assert first and linker and second
        assert chemistry_molecules.parse(f"{first}*.*{second}") is not None


def test_pairs_of_the_test_split_are_not_trained_on(task):
    batches = {split: task.load(split) for split in molecule_data.SPLITS}
    pairs = {
        split: {
            (first, second)
            for row in range(len(batch.length))
            for first, _, second in [pieces_of(task, batch, row)]
        }
        for split, batch in batches.items()
    }
    assert pairs["train"]
    assert not pairs["train"] & (pairs["validation"] | pairs["test"])


def test_samples_per_pair(task):
    one, two = linkers.make().load("test"), task.load("test")
    np.testing.assert_array_equal(two.tokens[::2], one.tokens)
    np.testing.assert_array_equal(two.tokens[1::2], one.tokens)
    assert two.index.tolist() == list(range(2 * len(one.index)))


def test_scores_of_the_molecules_themselves(task):
    batch = first_rows(task.load("test"), 10)
    scores = task.score(batch, batch.tokens, batch.length, np.ones(10, bool))
    assert all(len(s.total) == len(s.count) == 10 for s in scores.values())
    found = values(scores)
    assert next(iter(found)) == "survived"
    for name in ("survived", "valid", "kept", "recovered", "termination"):
        assert found[name] == 1, name
    # Five pairs with the same sample twice.
    assert scores["recovered"].count.sum() == 5
    assert found["unique"] == 1 / 2
    assert found["distinct_linkers"] == 1


def test_scores_of_other_linkers(task):
    batch = first_rows(task.load("test"), 4)
    carbon = task.vocabulary.index("C")
    tokens, length = np.zeros_like(batch.tokens), batch.length.copy()
    for row in range(4):
        first = int(np.argmin(batch.closed[row]))
        second = int(batch.anchored[row].sum()) - first
        ids = batch.tokens[row, : batch.length[row]]
        # Nothing, carbon, a parenthesis left open, and a fragment that lost its end.
        middle = [[], [carbon], [task.vocabulary.index("(")], [carbon]][row]
        end = ids[len(ids) - second :]
        new = [*ids[:first], *middle, *(end if row < 3 else end[:-1])]
        tokens[row, : len(new)] = new
        length[row] = len(new)
    scores = task.score(batch, tokens, length, np.ones(4, bool))
    assert scores["kept"].total.tolist() == [1, 1, 1, 0]
    assert scores["survived"].total.tolist() == [0, 1, 0, 0]
    assert scores["recovered"].total.sum() == 0


def test_prompt(task):
    row = task.parse_prompt(PAIR)
    examples.check(row, len(task.vocabulary))
    assert task.format(row.tokens[0], row.length[0]) == "c1(ccccc1)C2CC2"
    size = int(row.length[0])
    assert row.anchored[0, :size].all()
    assert np.flatnonzero(~row.closed[0]).tolist() == [10]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("CC.CC", "The fragment 'CC' has no attachment point"),
        ("CC*", "two fragments are needed"),
        ("[Xe]*.C*", "The token '[Xe]' of '[Xe]' is not in the vocabulary"),
        ("C" * 200 + "*.C*", "The fragments have 203 tokens, but the canvas"),
    ],
)
def test_bad_prompts(task, text, complaint):
    with pytest.raises(InputError) as caught:
        task.parse_prompt(text)
    assert complaint in str(caught.value)


def test_a_prompt_has_no_molecule_to_recover(task):
    row = task.parse_prompt(PAIR)
    tokens, length = row.tokens.copy(), row.length + 1
    tokens[0, 11 : length[0]] = tokens[0, 10 : row.length[0]]
    tokens[0, 10] = task.vocabulary.index("C")
    scores = task.score(row, tokens, length, np.ones(1, bool))
    assert scores["survived"].total.tolist() == [1]
    assert scores["recovered"].count.tolist() == [0]


def test_test_files(tmp_path, capsys):
    path = tmp_path / "test.csv"
    path.write_text(
        "molecule,linker,fragments\n"
        f"O=C(Cc1ccccc1)NC1CC1,O=C(C[*:1])N[*:2],{PAIR}\n"
        "CC,CC,CC\n"
    )
    own = linkers.make(test_file=str(path), data_dir=str(tmp_path))
    batch = own.load("test")
    assert pieces_of(own, batch, 0) == ("c1(ccccc1)", "CC(=O)N", "C2CC2")
    assert len(batch.length) == 1
    assert "line 3: The linker 'CC' must be one piece" in capsys.readouterr().err
    (folder,) = (tmp_path / "prepared").iterdir()
    assert folder.name.startswith("rdkit-linkers-")


def test_a_trained_model_needs_no_data(tmp_path, task):
    tokens = " ".join(task.vocabulary[3:])
    own = linkers.make(
        "moses", vocabulary=tokens, max_length=60, data_dir=str(tmp_path)
    )
    assert own.vocabulary == task.vocabulary
    assert own.parse_prompt(PAIR).tokens.shape == (1, 60)
    with pytest.raises(InputError, match="chemistry.downloads moses"):
        own.load("test")


def test_rule():
    strict = linkers.make(min_fragment=7)
    assert len(strict.load("train").length) < len(linkers.make().load("train").length)


def test_max_length():
    full = linkers.make()
    short = linkers.make(max_length=30)
    assert short.max_length <= 30 < full.max_length
    assert len(short.load("train").length) < len(full.load("train").length)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"samples_per_pair": 0}, "samples_per_pair is 0, but must be at least 1."),
        ({"num_train": 0}, "num_train is 0, but must be at least 1."),
        ({"min_fragment": 99}, "No molecule to train can be cut as asked for."),
        ({"source": "none.smi"}, "none.smi cannot be read"),
    ],
)
def test_bad_arguments(options, complaint):
    with pytest.raises(InputError) as caught:
        linkers.make(**options)
    assert str(caught.value).startswith(complaint)


def test_draw(task, tmp_path):
    batch = task.load("test")
    step = np.tile(np.arange(task.max_length), (2, 1))
    task.draw(batch, batch.tokens[:2], batch.length[:2], step, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_training_linkers_are_counted(tmp_path):
    data = linker_data.prepare(molecule_data.Settings(), linkers.CutRule(), tmp_path)
    counts = data.linkers()
    assert sum(counts.values()) == len(data.lengths["train"])
    assert list(counts.values()) == sorted(counts.values(), reverse=True)


def test_what_a_trained_model_keeps(task):
    assert task.settings["max_length"] == task.max_length
    assert task.settings["vocabulary"].split() == list(task.vocabulary[3:])
    # There is no linker without fragments.
    assert task.blank is None


def test_the_baseline_gets_as_many_samples(task, monkeypatch):
    # Two samples of each pair, but one of the last.
    batch = first_rows(task.load("test"), 5)
    given = {}

    def scores(pairs, **options):
        given.update(options, num_pairs=len(pairs.length))
        return {"recovered": Score(np.zeros(3), np.ones(3), is_rate=True)}

    monkeypatch.setattr(linkers.linker_baseline, "scores", scores)
    found = task.compare(batch, batch.tokens, batch.length)
    assert list(found.scores) == ["most frequent: recovered"]
    assert (given["num_pairs"], given["num_samples"]) == (3, [2, 2, 1])
    assert sum(given["counts"].values()) == len(task.load("train").length)


def test_tables(task, tmp_path):
    batch = first_rows(task.load("test"), 3)
    tokens = batch.tokens.copy()
    tokens[1, : batch.length[1]] = task.vocabulary.index("(")  # nothing is kept
    step = np.where(batch.anchored, -1, 0)
    paths = task.write(batch, tokens, batch.length, step, {}, tmp_path)
    assert [path.name for path in paths] == ["samples.smi", "samples.csv", "order.csv"]
    with paths[1].open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["survived"] for row in rows] == ["1", "0", "1"]
    assert [row["valid"] for row in rows] == ["1", "0", "1"]
    assert rows[1]["linker"] == rows[1]["linker_in_training"] == ""
    assert "*" in rows[0]["linker"] and rows[0]["fragments"].count("*") == 2
    assert rows[0]["generated"] == task.format(tokens[0], batch.length[0])
    assert all(int(rows[i]["linker_in_training"]) >= 0 for i in (0, 2))
