"""Star graphs: arrays, scores, prompts and pictures."""

import itertools
import subprocess
import sys

import numpy as np
import pytest

from insertion_jax.tasks import star_graphs
from insertion_jax.tasks.star_graph_generator import SPLIT_SEEDS, TIERS, generate
from insertion_jax.types import BOS_ID, EOS_ID, NUM_SPECIALS, PAD_ID, Batch

SIZES = {"num_train": 300, "num_validation": 50, "num_test": 200}


@pytest.fixture(params=TIERS)
def tier(request):
    return TIERS[request.param]


def row_of(batch, i):
    return Batch(*(np.asarray(array)[i] for array in batch))


def score_of(task, examples, tokens, length):
    stopped = np.ones(len(tokens), bool)
    scores = task.score(examples, tokens, length, stopped)
    return {name: s.total.sum() / s.count.sum() for name, s in scores.items()}


# The data.


def test_same_seed_same_arrays_other_seed_others():
    arrays = [
        star_graphs.make("medium", **SIZES).load(split)
        for split in ("train", "train", "test")
    ]
    for one, other in zip(arrays[0], arrays[1], strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(arrays[0].prompt[:200], arrays[2].prompt)


def test_default_sizes():
    tiny = star_graphs.make("tiny")
    assert {s: len(tiny.load(s).tokens) for s in SPLIT_SEEDS} == {
        "train": 50_000,
        "validation": 1_000,
        "test": 5_000,
    }
    assert len(star_graphs.make("hard").load("validation").tokens) == 100


def test_batch_has_the_promised_form(tier):
    task = star_graphs.make(tier.name, **SIZES)
    batch = task.load("train")
    b, c, length = 300, task.prompt_length, task.max_length
    shapes = Batch(
        (b, c), (b, c), (b, length), (b,), (b, length), (b, length + 1), (b,)
    )
    assert tuple(array.shape for array in batch) == tuple(shapes)
    kinds = (np.int32, bool, np.int32, np.int32, bool, bool, np.int32)
    assert tuple(array.dtype for array in batch) == kinds
    assert not batch.anchored.any() and not batch.closed.any()
    np.testing.assert_array_equal(batch.index, np.arange(b))

    in_target = np.arange(length) < batch.length[:, None]
    for tokens, mask in ((batch.prompt, batch.prompt_mask), (batch.tokens, in_target)):
        assert (tokens[~mask] == PAD_ID).all()
        assert (tokens[mask] >= NUM_SPECIALS).all()
        assert (tokens[mask] < len(task.vocabulary)).all()
    # Longer than any graph would be waste, shorter would not have come this far.
    assert batch.length.max() == length
    assert task.load("train") is batch
    with pytest.raises(ValueError, match="read-only"):
        batch.tokens[0, 0] = 0


def test_tokens_round_trip_to_graphs(tier):
    graphs = list(itertools.islice(generate(tier, seed=5), 20))
    batch = star_graphs.encode(graphs, tier)
    for i, graph in enumerate(graphs):
        row = row_of(batch, i)
        *edges, ends = (row.prompt[row.prompt_mask] - NUM_SPECIALS).reshape(-1, 2)
        assert tuple(map(tuple, edges)) == graph.edges
        assert tuple(ends) == (graph.source, graph.goal)
        target = (row.tokens[: row.length] - NUM_SPECIALS).reshape(-1, 2)
        assert list(map(tuple, target)) == list(itertools.pairwise(graph.path))


def test_vocabulary_names_the_tokens():
    task = star_graphs.make("hard", **SIZES)
    assert len(task.vocabulary) == 59
    assert [task.vocabulary[i] for i in (PAD_ID, BOS_ID, EOS_ID)] == [
        "<pad>",
        "<bos>",
        "<eos>",
    ]
    assert task.vocabulary[NUM_SPECIALS + 41] == "41"


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'huge': the tiers are tiny, easy, medium"):
        star_graphs.make("huge")
    with pytest.raises(ValueError, match="'dev': the splits are train, validation"):
        star_graphs.make("tiny", **SIZES).load("dev")


# The scores.


def test_right_answers_score_full(tier):
    task = star_graphs.make(tier.name, **SIZES)
    test = task.load("test")
    scores = score_of(task, test, test.tokens, test.length)
    assert next(iter(scores)) == "exact_match"
    assert scores == {
        "exact_match": 1,
        "token_accuracy": 1,
        "hamming": 0,
        "levenshtein": 0,
        "levenshtein_normalised": 0,
        "plan_valid": 1,
        "termination": 1,
        "length": test.length.mean(),
    }


def test_corrupted_answers_score_nothing(tier):
    task = star_graphs.make(tier.name, **SIZES)
    test = task.load("test")
    tokens = test.tokens.copy()
    tokens[:, 1] = tokens[:, 0]  # No graph has an edge from a node to itself.
    scores = score_of(task, test, tokens, test.length)
    assert scores["exact_match"] == scores["plan_valid"] == 0
    assert scores["hamming"] == scores["levenshtein"] == 1
    assert scores["token_accuracy"] == pytest.approx(1 - 1 / test.length.mean())
    assert scores["levenshtein_normalised"] == pytest.approx((1 / test.length).mean())

    empty = score_of(task, test, tokens, np.zeros_like(test.length))
    assert empty["exact_match"] == empty["plan_valid"] == empty["token_accuracy"] == 0
    assert empty["levenshtein"] == test.length.mean()
    assert empty["levenshtein_normalised"] == 1


def test_token_accuracy_is_pooled():
    task = star_graphs.make("hard", **SIZES)
    test = task.load("test")
    length = np.where(np.arange(200) < 100, test.length, 0)
    scores = score_of(task, test, test.tokens, length)
    pooled = test.length[:100].sum() / test.length.sum()
    assert scores["token_accuracy"] == pytest.approx(pooled)
    assert pooled != scores["exact_match"] == 0.5


def test_termination_is_reported_apart():
    task = star_graphs.make("tiny", **SIZES)
    test = task.load("test")
    stopped = np.arange(200) < 50
    scores = task.score(test, test.tokens, test.length, stopped)
    assert scores["termination"].total.sum() == 50
    assert scores["exact_match"].total.sum() == 200


@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        ("0>3 3>5", True),
        ("0>3 3>5 5>0 0>3 3>5", True),  # A detour is a plan, too.
        ("0>3", False),  # stops before the goal
        ("3>5", False),  # starts after the source
        ("0>2 3>5", False),  # jumps
        ("0>5", False),  # no such edge
        ("3>0 0>3 3>5", False),  # one of the edges backwards
        ("0>3 3>5 5", False),  # half an edge too many
        ("5>0", False),
        ("", False),
    ],
)
def test_plan_validity(answer, valid):
    task = star_graphs.make("medium", **SIZES)
    prompt = task.parse_prompt("0>3 3>5 0>2 2>7 5>0 from 0 to 5")
    nodes = [int(node) for node in answer.replace(">", " ").split()]
    tokens = np.full((1, task.max_length), EOS_ID)
    tokens[0, : len(nodes)] = np.array(nodes, int) + NUM_SPECIALS
    is_valid = star_graphs.plan_is_valid(prompt, tokens, np.array([len(nodes)]))
    assert is_valid.tolist() == [valid]


def test_source_and_goal_are_no_edge():
    # They follow the edges in the prompt; read as one, 0>5 would be a plan.
    task = star_graphs.make("medium", **SIZES)
    prompt = task.parse_prompt("0>3 3>5 from 0 to 5")
    tokens = np.array([[0, 5]]) + NUM_SPECIALS
    assert not star_graphs.plan_is_valid(prompt, tokens, np.array([2]))[0]


# Prompts and text.


def test_prompt_of_a_graph_is_read_back(tier):
    graph = next(generate(tier, seed=11))
    edges = " ".join(f"{u}>{v}" for u, v in graph.edges)
    text = f" {edges}  from {graph.source} to {graph.goal}\n"
    task = star_graphs.make(tier.name, **SIZES)
    typed, drawn = task.parse_prompt(text), star_graphs.encode([graph], tier)
    np.testing.assert_array_equal(typed.prompt, drawn.prompt)
    np.testing.assert_array_equal(typed.prompt_mask, drawn.prompt_mask)
    assert typed.length.tolist() == [0]
    assert [a.shape for a in typed] == [a.shape for a in drawn]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", 'write edges, source and goal like "0>3 3>5'),
        ("0>3 3>5", "write edges, source and goal like"),
        ("0-3 from 0 to 3", "write edges, source and goal like"),
        ("0>3 from 0 to 3 please", "write edges, source and goal like"),
        ("from 0 to 3", "write edges, source and goal like"),
        ("0>3 3>10 from 0 to 3", "Node 10 .* tiny tier are 0 to 9"),
        ("0>3 from 0 to 99", "Node 99 .* tiny tier are 0 to 9"),
        ("0>1 " * 7 + "from 0 to 1", "7 edges: the tiny tier has room for 6"),
        ("0>3 3>5 from 1 to 5", "source 1 is on none"),
        ("0>3 3>5 from 0 to 1", "goal 1 is on none"),
        ("0>3 3>5 from 3 to 3", "both 3"),
    ],
)
def test_bad_prompts_are_refused_in_one_sentence(text, complaint):
    task = star_graphs.make("tiny", **SIZES)
    with pytest.raises(ValueError, match=complaint) as error:
        task.parse_prompt(text)
    assert "\n" not in str(error.value)


def test_format():
    task = star_graphs.make("tiny", **SIZES)
    tokens = np.array([3, 6, 6, 8, EOS_ID, 700, -1])
    assert task.format(tokens, 4) == "0>3 3>5"
    assert task.format(tokens, 3) == "0>3 3>"
    assert task.format(tokens, 0) == ""
    assert task.format(tokens, 7) == "0>3 3>5 <eos>>697 <-1>>"


# Pictures.


def test_importing_does_not_load_matplotlib():
    code = (
        "import sys, insertion_jax.tasks.star_graphs;"
        "sys.exit('matplotlib' in sys.modules or 'flax' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "tokens",
    [
        [3, 6, 6, 8],  # right
        [3, 6, 6, 8, 8],  # half an edge
        [8, 6, 6, 6, EOS_ID, 700, -1, 3],  # no edges of the graph, no nodes of it
        [],
    ],
)
@pytest.mark.parametrize(
    "prompt",
    [
        "0>3 3>5 0>2 2>7 from 0 to 5",
        "0>3 from 0 to 3",
        "0>3 3>5 5>0 from 0 to 5",
        "0>3 3>3 3>5 1>2 from 0 to 5",
    ],
)
def test_any_graph_and_any_sequence_can_be_drawn(tmp_path, prompt, tokens):
    task = star_graphs.make("medium", **SIZES)
    problem = task.parse_prompt(prompt)
    padded = np.zeros(task.max_length, int)
    padded[: len(tokens)] = tokens
    path = tmp_path / "plan.png"
    step = np.arange(task.max_length)[::-1]
    task.draw(problem, padded[None], [len(tokens)], step[None], path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_panel(tmp_path):
    task = star_graphs.make("hard", **SIZES)
    rows = Batch(*(array[:3] for array in task.load("test")))
    step = np.tile(np.arange(task.max_length), (3, 1))
    panel = (rows, rows.tokens, rows.length, step, tmp_path / "panel.svg")
    star_graphs.draw(*panel, titles=["a", "b", "third title"])
    assert "third title" in panel[-1].read_text()
    with pytest.raises(ValueError, match="2 titles for 3 pictures"):
        star_graphs.draw(*panel, titles=["a", "b"])
