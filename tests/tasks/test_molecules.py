"""The molecule task on what comes with rdkit, on files, and around fragments."""

import json

import numpy as np
import pytest

from insertion_jax import evaluation
from insertion_jax.chemistry import downloads
from insertion_jax.chemistry import molecules as chemistry_molecules
from insertion_jax.tasks import examples, molecule_data, molecule_samples, molecules
from insertion_jax.tasks.molecule_data import Settings
from insertion_jax.types import InputError, Task


@pytest.fixture(scope="module", autouse=True)
def few_molecules():
    """300 of rdkit's molecules stand for all."""
    original = molecule_data.rdkit_molecules.screening
    with pytest.MonkeyPatch.context() as patch:
        few = original()[:300]
        patch.setattr(molecule_data.rdkit_molecules, "screening", lambda: few)
        yield


@pytest.fixture(scope="module")
def task():
    return molecules.make()


@pytest.fixture(scope="module")
def safe_task():
    return molecules.make(notation="safe", num_train=100, num_held_out=20)


def texts_of(task, split):
    batch = task.load(split)
    return [
        task.format(tokens, length)
        for tokens, length in zip(batch.tokens, batch.length, strict=True)
    ]


def values(scores):
    return {name: evaluation.estimate(score).value for name, score in scores.items()}


def scores_of(task, rows):
    tokens = np.zeros((len(rows), task.max_length), np.int32)
    length = np.array([len(row) for row in rows])
    for row, ids in enumerate(rows):
        tokens[row, : len(ids)] = ids
    batch = task.parse_prompt("")
    return values(task.score(batch, tokens, length, np.ones(len(rows), bool)))


def test_contract(task, safe_task):
    for each in (task, safe_task):
        assert isinstance(each, Task)
        for split in molecule_data.SPLITS:
            batch = each.load(split)
            examples.check(batch, len(each.vocabulary), ends_with_eos=True)
            assert batch.tokens.shape == (len(batch.length), each.max_length)
            assert (batch.tokens.dtype, batch.length.dtype) == (np.int32, np.int32)
            assert batch.closed.shape == (len(batch.length), each.max_length + 1)
            assert not batch.anchored.any() and not batch.closed.any()
        assert each.prompt_length == 0


def test_splits_are_the_molecules(task):
    splits = [texts_of(task, split) for split in molecule_data.SPLITS]
    assert [len(part) for part in splits] == [243, 27, 30]
    together = {text for part in splits for text in part}
    originals = molecule_data.rdkit_molecules.screening()
    assert together == set(map(chemistry_molecules.canonical, originals))


def test_safe_is_the_same_molecules(safe_task):
    texts = texts_of(safe_task, "train")
    assert len(texts) == 100
    assert sum("<" in text for text in texts) > 50
    plain = [molecule_samples.smiles_of(text, "safe") for text in texts]
    originals = set(
        map(chemistry_molecules.canonical, molecule_data.rdkit_molecules.screening())
    )
    assert {chemistry_molecules.canonical(text) for text in plain} <= originals


def test_scores_of_training_molecules(task, safe_task):
    for each in (task, safe_task):
        batch = each.load("train")
        rows = [t[:n] for t, n in zip(batch.tokens[:50], batch.length, strict=False)]
        found = scores_of(each, rows)
        assert next(iter(found)) == "valid"
        assert found["valid"] == found["unique@1000"] == found["termination"] == 1
        assert found["novel"] == 0
        assert found["length"] == pytest.approx(batch.length[:50].mean())
        assert found.get("valid_leniently", 1) == 1


def test_scores_of_spoilt_molecules(task):
    batch = task.load("train")
    rows = [t[: n - 3] for t, n in zip(batch.tokens[:50], batch.length, strict=False)]
    found = scores_of(task, [*rows, [], [0, 1, 2]])
    assert found["valid"] < 0.7
    assert found["novel"] > 0.9


def test_every_row_has_its_score(task):
    batch = task.load("test")
    scores = task.score(batch, batch.tokens, batch.length, np.ones(len(batch.length)))
    for score in scores.values():
        assert score.total.shape == score.count.shape == batch.length.shape


def test_prompts(safe_task, task):
    assert task.parse_prompt(" ").length.tolist() == [0]
    row = safe_task.parse_prompt("c1ccccc1[*:1].CCO[*:2]")
    text = safe_task.format(row.tokens[0], row.length[0])
    # In the order in which they are given, cut where molecules are.
    assert text == "c1<1>ccccc1.O<2><3>.C<3>C."
    size = int(row.length[0])
    assert row.anchored[0].sum() == size and row.anchored[0, :size].all()
    # Only the gap after the fragments is open.
    assert row.closed[0, :size].all() and not row.closed[0, size]
    examples.check(row, len(safe_task.vocabulary), ends_with_eos=True)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("CCO", "The fragment 'CCO' has no attachment point"),
        ("C1*", "is not a molecule"),
        ("[Xe]*", "The token '[Xe]' of"),
        ("C" * 300 + "*", "The fragments have 302 tokens, but the canvas"),
    ],
)
def test_bad_prompts(safe_task, text, complaint):
    with pytest.raises(InputError) as caught:
        safe_task.parse_prompt(text)
    assert complaint in str(caught.value)


def test_a_model_of_smiles_takes_no_fragments(task):
    with pytest.raises(InputError, match="writes SMILES and takes no fragments"):
        task.parse_prompt("c1ccccc1*")


@pytest.fixture
def own_file(tmp_path):
    path = tmp_path / "mine.smi"
    lines = [f"{'C' * n}O name" for n in range(1, 41)]
    path.write_text("\n".join([*lines, "OC", "C1CC", ""]))
    return path


def test_own_files(own_file, tmp_path, capsys):
    arguments = {"source": str(own_file), "data_dir": str(tmp_path), "max_length": 30}
    task = molecules.make(**arguments)
    assert sum(len(texts_of(task, s)) for s in molecule_data.SPLITS) == 29
    error = capsys.readouterr().err
    assert "line 42: 'C1CC' is not a molecule" in error
    assert "1 lines repeat a molecule" in error
    assert "have more than 30 tokens and were left out" in error
    # A second time nothing is prepared, and the notes are still there.
    (folder,) = (tmp_path / "prepared").iterdir()
    before = (folder / "meta.json").stat().st_mtime_ns
    again = molecules.make(**arguments)
    assert texts_of(again, "train") == texts_of(task, "train")
    assert (folder / "meta.json").stat().st_mtime_ns == before
    whole = molecules.make(str(own_file), data_dir=str(tmp_path))
    assert isinstance(whole.load("train").tokens, np.memmap)
    assert "line 42" in capsys.readouterr().err


def test_an_interrupted_preparation_starts_clean(own_file, tmp_path, monkeypatch):
    settings = Settings(str(own_file))
    folder = molecule_data.folder_of(settings, tmp_path, "molecules")
    written = []

    def interrupted(path, array):
        written.append(path)
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(molecule_data.prepared.np, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            molecule_data.prepare(settings, tmp_path)
    assert written and not folder.exists()
    done = molecule_data.prepare(settings, tmp_path)
    assert folder.exists()
    assert len(list(folder.parent.iterdir())) == 1
    assert len(done.lengths["train"]) == 33


def test_what_a_source_holds_is_part_of_the_name(own_file, tmp_path):
    one = molecule_data.folder_of(Settings(str(own_file)), tmp_path, "molecules")
    seed = molecule_data.folder_of(
        Settings(str(own_file), seed=1), tmp_path, "molecules"
    )
    own_file.write_text("CCO\n" * 3)
    other = molecule_data.folder_of(Settings(str(own_file)), tmp_path, "molecules")
    assert len({one, seed, other}) == 3


def test_a_trained_model_needs_no_data(tmp_path):
    options = {"source": "moses", "data_dir": str(tmp_path), "max_length": 9}
    task = molecules.make(vocabulary="C O c 1", **options)
    assert task.vocabulary[3:] == ("1", "C", "O", "c")
    assert task.settings == {"vocabulary": "1 C O c", "max_length": 9}
    found = scores_of(task, [[4, 4, 5], [3]])
    assert found["valid"] == 1 / 2
    assert "novel" not in found
    with pytest.raises(InputError, match="chemistry.downloads moses"):
        task.load("test")
    with pytest.raises(InputError, match="chemistry.downloads moses"):
        molecules.make(**options)


def test_a_token_that_a_vocabulary_lacks(own_file, tmp_path):
    task = molecules.make(
        str(own_file), vocabulary="C N", max_length=60, data_dir=str(tmp_path)
    )
    with pytest.raises(InputError, match="The token 'O' of 'C+O' is not in the voc"):
        task.load("train")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"notation": "selfies"}, "Unknown notation 'selfies': allowed are smiles and"),
        ({"num_train": 0}, "num_train is 0, but must be at least 1."),
        ({"max_length": -2}, "max_length is -2, but must be at least 1."),
        ({"source": "none.smi"}, "none.smi cannot be read: No such file"),
        ({"max_length": 1}, "rdkit has too few molecules for the split 'train'."),
    ],
)
def test_bad_arguments(options, complaint):
    with pytest.raises(InputError) as caught:
        molecules.make(**options)
    assert str(caught.value).startswith(complaint)


def test_unknown_splits(task):
    with pytest.raises(InputError, match="the splits are "):
        task.load("none")


def test_guacamol_is_recognised(tmp_path, monkeypatch):
    hashes = {}
    for split, content in (("train", "CC\nCCC"), ("validation", "CO"), ("test", "CN")):
        path = tmp_path / f"guacamol_v1_{split}.smiles"
        path.write_text(content)
        hashes[molecule_data._md5(path)] = split
    monkeypatch.setattr(molecule_data, "GUACAMOL", hashes)
    source = tmp_path / "guacamol_v1_train.smiles"
    data = molecule_data.prepare(Settings(str(source)), tmp_path / "data")
    assert {s: read() for s, read in data.texts.items()} == {
        "train": ["CC", "CCC"],
        "validation": ["CO"],
        "test": ["CN"],
    }
    assert "is GuacaMol's" in data.notes[0]


@pytest.fixture
def small_moses(monkeypatch):
    shipped = {
        "train": ["OCC", "CC", "C", "N"],
        "test": ["CO"],
        "test_scaffolds": ["O"],
    }
    monkeypatch.setattr(downloads, "moses_smiles", lambda split, _: shipped[split])


def test_moses(small_moses, tmp_path):
    data = molecule_data.prepare(Settings("moses", num_held_out=1), tmp_path)
    assert set(data.tokens) == {"train", "validation", "test", "test_scaffolds"}
    train, held_out = data.texts["train"](), data.texts["validation"]()
    assert sorted(train + held_out) == ["C", "CC", "CCO", "N"]
    assert len(held_out) == len(data.texts["test"]()) == 1
    (folder,) = (tmp_path / "prepared").iterdir()
    assert json.loads((folder / "meta.json").read_text())["max_length"] == 3


def test_what_rdkit_cannot_read_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(
        downloads, "moses_smiles", lambda *_: ["C", "CC", "C1C", "CO", "N"]
    )
    data = molecule_data.prepare(Settings("moses", num_held_out=2), tmp_path)
    assert len(data.texts["train"]()) + len(data.texts["validation"]()) == 4
    assert "1 of 5 molecules to train cannot be read by this rdkit." in data.notes


def test_all_that_moses_ships_to_train_on_is_known(small_moses, tmp_path):
    task = molecules.make("moses", num_held_out=1, data_dir=str(tmp_path))
    assert task.splits == (*molecule_data.SPLITS, "test_scaffolds")
    novel = {}
    for split in task.splits:
        row = task.load(split)
        scores = task.score(row, row.tokens, row.length, np.ones(len(row.length)))
        novel[split] = values(scores)["novel"]
    assert novel == {"train": 0, "validation": 0, "test": 1, "test_scaffolds": 1}


def test_draw(task, tmp_path):
    batch = task.load("test")
    step = np.tile(np.arange(task.max_length), (2, 1))
    task.draw(batch, batch.tokens[:2], batch.length[:2], step, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_fetching_what_is_missing(tmp_path, monkeypatch):
    fetched = []

    def fetch(name, data_dir):
        fetched.append((name, data_dir))
        return tmp_path / name

    monkeypatch.setattr(downloads, "fetch", fetch)
    lines = molecules.fetch("moses", tmp_path)
    assert fetched == [("moses", tmp_path), ("chemnet", tmp_path)]
    assert lines[0].startswith(f"Fetched the MOSES molecules to {tmp_path / 'moses'} (")
    # One's own molecules need the weights of a metric; what is there needs nothing.
    fetched.clear()
    monkeypatch.setattr(downloads, "read", lambda file, _: file)
    assert molecules.fetch("moses", tmp_path) == [] == fetched


def test_nothing_given(task):
    rows = task.blank(3)
    examples.check(rows, len(task.vocabulary), ends_with_eos=True)
    assert rows.length.tolist() == [0, 0, 0]
    assert rows.index.tolist() == [0, 1, 2]
    assert rows.tokens.shape == (3, task.max_length)


def test_models_of_other_lengths_share_what_is_prepared(own_file, tmp_path):
    whole = molecules.make(str(own_file), data_dir=str(tmp_path))
    short = molecules.make(str(own_file), data_dir=str(tmp_path), max_length=20)
    again = molecules.make(str(own_file), data_dir=str(tmp_path), **short.settings)
    assert len(list((tmp_path / "prepared").iterdir())) == 1
    assert short.max_length == 20 < whole.max_length
    assert texts_of(again, "train") == texts_of(short, "train")
