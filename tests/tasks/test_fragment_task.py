"""The fragment task on what comes with rdkit: what is given, metrics, people's files."""

import csv

import jax
import numpy as np
import pytest
import shipped
import tiny

from insertion_jax import build, estimates
from insertion_jax.chemistry import molecules as chemistry_molecules
from insertion_jax.chemistry import safe
from insertion_jax.tasks import examples, fragments, molecule_data
from insertion_jax.types import InputError, Task

PROBLEMS = """name,smiles,linker_design,motif_extension,superstructure_generation
one,O=C(Cc1ccccc1)NC1CC1,C1CC1[*:1].c1ccccc1[*:2],[*:1]c1ccccc1,c1ccccc1
two,CCO,[Xe]*.C*,,
three,CCO,,[*:1]CC,
four,C,CC,,
"""


@pytest.fixture(scope="module", autouse=True)
def few_molecules():
    """100 of rdkit's molecules stand for all."""
    few = molecule_data.rdkit_molecules.screening()[:100]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(molecule_data.rdkit_molecules, "screening", lambda: few)
        yield


@pytest.fixture(scope="module")
def task():
    return fragments.make(num_held_out=15, samples_per_fragment=2)


@pytest.fixture(scope="module")
def settled(task):
    """As if a model had been trained, so that no data are read."""
    return {"vocabulary": " ".join(task.vocabulary[3:]), "max_length": 60}


def first_rows(batch, count):
    return type(batch)(*(np.asarray(field)[:count] for field in batch))


def values(scores):
    return {name: estimates.estimate(score).value for name, score in scores.items()}


def scores_of(task, batch, texts):
    """Scores of strings as samples."""
    tokens, length = np.zeros_like(batch.tokens), np.zeros_like(batch.length)
    for row, text in enumerate(texts):
        ids = [
            task.vocabulary.index(token) for token in fragments.smiles.tokenize(text)
        ]
        tokens[row, : len(ids)], length[row] = ids, len(ids)
    return task.score(batch, tokens, length, np.ones(len(length), bool))


def given_texts(task, batch):
    counts = batch.anchored.sum(axis=1)
    return [task.format(*row) for row in zip(batch.tokens, counts, strict=True)]


def test_contract(task):
    assert isinstance(task, Task)
    for split in molecule_data.SPLITS:
        batch = task.load(split)
        examples.check(
            batch, len(task.vocabulary), ends_with_eos=True, min_insertions=1
        )
        assert batch.tokens.shape == (len(batch.length), task.max_length)
        assert (batch.tokens.dtype, batch.length.dtype) == (np.int32, np.int32)
        # What is given is a beginning, and nothing goes into it.
        given = batch.anchored.sum(axis=1)[:, None]
        assert (batch.anchored == (np.arange(task.max_length) < given)).all()
        assert (batch.closed == (np.arange(task.max_length + 1) < given)).all()
    assert task.blank is None


def test_a_share_of_the_training_examples_is_given_something(task):
    given = task.load("train").anchored.any(axis=1)
    assert 0.25 < given.mean() < 0.7
    for split in ("validation", "test"):
        assert task.load(split).anchored.any(axis=1).all()
    nothing = fragments.make(num_held_out=5, num_train=30, anchored_share=0.0)
    assert not nothing.load("train").anchored.any()


def test_rows_are_molecules(task):
    originals = set(
        map(chemistry_molecules.canonical, molecule_data.rdkit_molecules.screening())
    )
    batch = task.load("train")
    for tokens, length in zip(batch.tokens[::4], batch.length[::4], strict=True):
        text = safe.decode(task.format(tokens, length))
        assert chemistry_molecules.canonical(text) in originals
    assert all(text.endswith(".") for text in given_texts(task, task.load("test")))


def test_scores_of_the_molecules_themselves(task):
    batch = first_rows(task.load("test"), 8)
    scores = task.score(batch, batch.tokens, batch.length, np.ones(8, bool))
    assert all(len(s.total) == len(s.count) == 8 for s in scores.values())
    found = values(scores)
    assert next(iter(found)) == "valid"
    for name in ("valid", "readable", "kept", "termination"):
        assert found[name] == 1, name
    # Four problems, each with the same sample twice: the molecule it is of.
    assert scores["valid"].count.sum() == 4
    assert found["unique"] == 1 / 2
    assert found["distance"] == pytest.approx(0, abs=1e-6)
    assert np.isnan(found["diversity"])


def test_scores_of_other_molecules(task):
    batch = first_rows(task.load("test"), 8)
    others = np.roll(np.asarray(batch.tokens), 2, axis=0), np.roll(batch.length, 2)
    found = values(task.score(batch, *others, np.ones(8, bool)))
    assert found["readable"] == 1
    assert found["valid"] < 1 / 2
    assert found["kept"] < 1 / 2


def test_prompts(task):
    row = task.parse_prompt("c1ccccc1[*:1].CC(=O)N[*:2]")
    examples.check(row, len(task.vocabulary), ends_with_eos=True)
    (text,) = given_texts(task, row)
    assert text == "c1<1>ccccc1.N<2><3>.C<3>(C)=O."
    scores = scores_of(task, row, [text + "C<1><2>"])
    assert values(scores)["valid"] == 1
    assert values(scores_of(task, row, [text + "C<1>"]))["valid"] == 0
    # A person's fragments are of no molecule that is known.
    assert scores["distance"].count.sum() == 0
    assert task.parse_prompt("").length.tolist() == [0]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("CC.C*", "The fragment 'CC' has no attachment point: mark where it may be"),
        ("C1C*", "'C1C*' is not a molecule"),
        ("[Xe]*", "The token '[Xe]' of '[Xe]<1>.' is not in the vocabulary"),
        ("C" * 200 + "*", "The fragments have 202 tokens, but the canvas"),
    ],
)
def test_bad_prompts(task, text, complaint):
    with pytest.raises(InputError) as caught:
        task.parse_prompt(text)
    assert complaint in str(caught.value)


@pytest.fixture
def asked(tmp_path, settled):
    """A task whose test split is a person's file."""
    path = tmp_path / "drugs.csv"
    path.write_text(PROBLEMS)
    return fragments.make(test_file=str(path), samples_per_fragment=3, **settled)


def test_files(asked, capsys):
    batch = asked.load("test")
    examples.check(batch, len(asked.vocabulary))
    texts = given_texts(asked, batch)
    assert len(texts) == 4 * 3
    assert texts[:4] == ["C1<1>CC1.c1<2>ccccc1."] * 3 + ["c1<1>ccccc1."]
    assert set(texts[9:]) == {"C<1>C."}
    # The ends of a superstructure are drawn for each sample.
    assert all("<1>" in text for text in texts[6:9]) and len(set(texts[6:9])) > 1
    assert (batch.length == batch.anchored.sum(axis=1)).all()
    error = capsys.readouterr().err
    assert "2 of 4 lines can be used" in error
    assert "line 3: The token '[Xe]'" in error
    assert "line 5: 'CC' has 1 part, but linker_design takes 2." in error


def test_scores_by_task(asked):
    batch = asked.load("test")
    texts = given_texts(asked, batch)
    samples = [text + "C<1><2>" for text in texts[:3]]  # links
    samples += [text + "O<1>" for text in texts[3:]]  # closes one end, not all
    found = values(scores_of(asked, batch, samples))
    assert found["linker_design/valid"] == found["motif_extension/valid"] == 1
    assert found["linker_design/unique"] == 1 / 3
    assert found["superstructure_generation/valid"] < 1
    together = ("linker_design", "motif_extension", "superstructure_generation")
    # Of four problems two are to extend a motif.
    weights = dict(zip(together, (1, 2, 1), strict=True))
    total = sum(weights[name] * found[f"{name}/valid"] for name in together)
    assert found["valid"] == pytest.approx(total / 4)
    assert 0 < found["linker_design/distance"] < 1
    assert "scaffold_decoration/valid" not in found


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[Xe]*\n", "has no fragment that this model can be given. Line 1: The token"),
        ("\n" + "C" * 200 + "*\n", "Line 2: The fragments have 202 tokens, but the"),
        ("CC(\n", "has no fragment. Line 1: 'CC(' is not a molecule"),
        ("", "has no fragment."),
        (None, "cannot be read: No such file"),
    ],
)
def test_bad_files(tmp_path, settled, content, complaint):
    path = tmp_path / "asked.txt"
    if content is not None:
        path.write_text(content)
    task = fragments.make(test_file=str(path), **settled)
    with pytest.raises(InputError) as caught:
        task.load("test")
    assert complaint in str(caught.value)


def test_a_bad_file_is_told_of_before_training(tmp_path):
    with pytest.raises(InputError, match="none.csv cannot be read"):
        fragments.make(
            num_train=20, num_held_out=5, test_file=str(tmp_path / "none.csv")
        )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"anchored_share": 1.5}, "anchored_share is 1.5; it must lie in [0, 1]."),
        ({"samples_per_fragment": 0}, "samples_per_fragment is 0, but must be at le"),
        ({"num_train": 0}, "num_train is 0"),
        ({"source": "none.smi"}, "none.smi cannot be read"),
    ],
)
def test_bad_arguments(options, complaint):
    with pytest.raises(InputError) as caught:
        fragments.make(**options)
    assert str(caught.value).startswith(complaint)


def test_unknown_splits(task):
    with pytest.raises(InputError, match="the splits are train, validation, test"):
        task.load("none")


def test_ones_own_molecules_are_prepared_once(tmp_path, capsys):
    path = tmp_path / "mine.smi"
    mols = molecule_data.rdkit_molecules.screening()[:30]
    path.write_text("\n".join([*mols, "C1C"]))
    one = fragments.make(str(path), data_dir=str(tmp_path))
    assert "line 31: 'C1C' is not a molecule" in capsys.readouterr().err
    folders = sorted(p.name for p in (tmp_path / "prepared").iterdir())
    assert [name.split("-")[1] for name in folders] == ["fragments", "molecules"]
    two = fragments.make(str(path), data_dir=str(tmp_path))
    np.testing.assert_array_equal(one.load("train").tokens, two.load("train").tokens)
    assert "line 31" in capsys.readouterr().err


def test_tables(task, tmp_path):
    batch = first_rows(task.load("test"), 3)
    tokens = np.array(batch.tokens)
    tokens[1] = task.load("test").tokens[5]
    tokens[2, : batch.length[2]] = task.vocabulary.index("(")
    length = np.array(batch.length)
    length[1] = task.load("test").length[5]
    step = np.where(batch.anchored, -1, 0)
    columns = {"bound": np.zeros(3)}
    paths = task.write(batch, tokens, length, step, columns, tmp_path)
    assert [path.name for path in paths] == ["samples.smi", "samples.csv", "order.csv"]
    with paths[1].open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["valid"] for row in rows] == ["1", "1", "0"]
    assert [row["has_fragments"] for row in rows] == ["1", "0", ""]
    assert "*" in rows[0]["fragments"] and rows[0]["task"]
    assert rows[0]["generated"] == task.format(tokens[0], length[0])
    assert rows[0]["bound"] == "0.0000"


METHODS = ("order=uniform,network=canvas", "network=trajectory", "method=loflexmdm")


@pytest.fixture
def _compile_fast():
    """Nearly all of the time of this test is compilation."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.usefixtures("_compile_fast")
@pytest.mark.parametrize("argument", METHODS)
def test_what_is_given_stays_in_every_sample(asked, argument):
    config = shipped.config("fragments", f"size=smoke,{argument}")
    method = build.method(config, asked)
    batch = asked.load("test")
    params = tiny.random_params(method.init, jax.tree.map(lambda x: x[0], batch))
    keys = jax.random.split(jax.random.key(0), len(batch.length))
    sample = jax.jit(jax.vmap(method.sample, in_axes=(None, 0, 0)))
    canvas, trace = jax.tree.map(np.asarray, sample(params, batch, keys))
    scores = asked.score(batch, canvas.tokens, canvas.length, trace.stopped)
    assert scores["kept"].total.all()
    # There was something to do, and what stays is not what others were given.
    assert (canvas.length > batch.length).any()
    others = type(batch)(*(np.roll(x, 3, axis=0) for x in batch))
    scores = asked.score(others, canvas.tokens, canvas.length, trace.stopped)
    # (A superstructure's ends may be drawn as a motif's.)
    assert scores["kept"].total.mean() < 1 / 3
    if "method" not in argument:
        assert (canvas.length > batch.length).all()


def test_shares_of_a_problem_are_not_said_of_its_first_sample(task):
    one = first_rows(task.load("test"), 1)
    twice = type(one)(*(np.repeat(field, 2, axis=0) for field in one))
    for batch, is_own in ((one, True), (twice, False)):
        scores = scores_of(task, batch, given_texts(task, batch))
        assert scores["valid"].is_own is is_own
        assert scores["readable"].is_own


def test_fragments_of_held_out_rows_have_no_stereo_marks(task):
    given = fragments.smiles.tokenize("C[C@@H](N)<1>.")
    vocabulary = fragments.smiles.vocabulary(sorted(set(given)))
    batch = task.load("test")
    row = first_rows(batch, 1)._replace(
        tokens=np.array([vocabulary.encode(given)], np.int32),
        length=np.array([len(given)], np.int32),
        anchored=np.ones((1, len(given)), bool),
    )
    (problem,) = fragments.fragment_samples.problems_of(row, vocabulary, {})
    assert problem.fragments == "*C(C)N"
