"""The task: arrays of both conditionings, prompts, text, a maze of one's own."""

import pathlib
import runpy
import subprocess
import sys

import numpy as np
import pytest

from insertion_jax import build
from insertion_jax.tasks import examples, maze_files, maze_generator, mazes
from insertion_jax.tasks.maze_examples import TIERS
from insertion_jax.types import EOS_ID, NUM_SPECIALS, PAD_ID, Batch, InputError

SIZES = {"num_train": 60, "num_validation": 10, "num_test": 30}
TWO_ROOMS = "#####\n#   #\n#####\n#   #\n#####\n"


@pytest.fixture(scope="module", params=mazes.CONDITIONINGS)
def conditioning(request):
    return request.param


def make(family="perfect", tier="tiny", **options):
    return mazes.make(family, tier, **(SIZES | options))


@pytest.mark.parametrize("tier", ["tiny", "hard"])
@pytest.mark.parametrize("family", maze_generator.FAMILIES)
def test_batch_has_the_promised_form(family, tier, conditioning):
    task = make(family, tier, conditioning=conditioning)
    batch = task.load("train")
    b, c, length = 60, task.prompt_length, task.max_length
    assert length == TIERS[tier].max_length
    assert c == (0 if conditioning == "anchored" else TIERS[tier].max_subgoals)
    shapes = Batch(
        (b, c), (b, c), (b, length), (b,), (b, length), (b, length + 1), (b,)
    )
    assert tuple(array.shape for array in batch) == tuple(shapes)
    kinds = (np.int32, bool, np.int32, np.int32, bool, bool, np.int32)
    assert tuple(array.dtype for array in batch) == kinds
    np.testing.assert_array_equal(batch.index, np.arange(b))
    assert batch.anchored.sum(axis=1).max() <= task.max_anchored
    in_target = np.arange(length) < batch.length[:, None]
    for tokens, mask in ((batch.prompt, batch.prompt_mask), (batch.tokens, in_target)):
        assert (tokens[~mask] == PAD_ID).all()
        assert (tokens[mask] >= NUM_SPECIALS).all()
    examples.check(batch, len(task.vocabulary))
    assert len(task.vocabulary) == NUM_SPECIALS + (2 * TIERS[tier].half_side + 1) ** 2
    assert task.load("train") is batch
    with pytest.raises(ValueError, match="read-only"):
        batch.tokens[0, 0] = 0


@pytest.mark.parametrize("family", maze_generator.FAMILIES)
def test_both_conditionings_give_the_same_subgoals(family):
    anchored, prompt = (
        make(family, conditioning=conditioning).load("test")
        for conditioning in mazes.CONDITIONINGS
    )
    np.testing.assert_array_equal(anchored.tokens, prompt.tokens)
    np.testing.assert_array_equal(anchored.length, prompt.length)
    assert not prompt.anchored.any() and not prompt.closed.any()
    for i in range(30):
        places = np.flatnonzero(anchored.anchored[i])
        assert (places[0], places[-1]) == (0, anchored.length[i] - 1)
        subgoals = prompt.prompt[i][prompt.prompt_mask[i]]
        np.testing.assert_array_equal(anchored.tokens[i, places], subgoals)
        # Nothing comes before the first subgoal or after the last.
        assert np.flatnonzero(anchored.closed[i]).tolist() == [0, len(subgoals)]


def test_anchors_leave_no_room_for_eos():
    anchored, prompt = (
        make(conditioning=conditioning) for conditioning in mazes.CONDITIONINGS
    )
    size = len(prompt.vocabulary)
    examples.check(prompt.load("test"), size, ends_with_eos=True)
    with pytest.raises(InputError, match="has a closed last gap"):
        examples.check(anchored.load("test"), size, ends_with_eos=True)


def test_same_arguments_same_bytes():
    one, same, other = (make("braided", seed=seed).load("test") for seed in (1, 1, 2))
    for a, b in zip(one, same, strict=True):
        assert a.tobytes() == b.tobytes()
    assert one.tokens.tobytes() != other.tokens.tobytes()


def test_default_sizes():
    task = mazes.make("perfect", "tiny")
    assert {s: len(task.load(s).length) for s in ("train", "validation", "test")} == {
        "train": 5_000,
        "validation": 1_000,
        "test": 1_000,
    }


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"family": "round"}, "Unknown family 'round': the families are perfect,"),
        ({"tier": "huge"}, "Unknown tier 'huge': the tiers are tiny, easy, medium, h"),
        (
            {"conditioning": "x"},
            "Unknown conditioning 'x': allowed are anchored and pr",
        ),
        ({"num_train": 0}, "num_train is 0, but must be at least 1."),
        ({"num_test": -1}, "num_test is -1, but must be at least 1."),
        ({"seed": -1}, "seed is -1, but must be 0 to 4294967293."),
        ({"family": "own"}, "The family 'own' goes with a maze of your own."),
        ({"maze": "# #"}, "The family 'perfect' goes without a maze of your own."),
        ({"family": "own", "maze": "##"}, "The maze has no free cell: each is a #."),
    ],
)
def test_bad_arguments(options, complaint):
    with pytest.raises(InputError) as caught:
        make(**options)
    assert str(caught.value).startswith(complaint)


def test_unknown_split():
    with pytest.raises(InputError, match="'dev': the splits are train, validation"):
        make().load("dev")


# Prompts and text.


@pytest.mark.parametrize("family", maze_generator.FAMILIES)
def test_subgoals_of_the_data_are_read_back(family, conditioning):
    task = make(family, conditioning=conditioning)
    rows = make(family).load("test")
    for i in range(10):
        row = Batch(*(array[i] for array in rows))
        subgoals = row.tokens[row.anchored]
        typed = task.parse_prompt(f" {task.format(subgoals, len(subgoals))}\n")
        assert [a.shape[1:] for a in typed] == [a.shape[1:] for a in task.load("test")]
        (scores,) = [task.score(typed, typed.tokens, typed.length, np.array([True]))]
        assert scores["success"].total == scores["shortest"].total == 1
        found = typed.tokens[typed.anchored]
        if conditioning == "prompt":
            found = typed.prompt[typed.prompt_mask]
        np.testing.assert_array_equal(found, subgoals)
        if family == "perfect":
            assert typed.tokens[0].tolist() == row.tokens.tolist()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "Cannot read the prompt '': write the subgoals as row,column (counted"),
        ("1;1 1;2", "Cannot read the prompt '1;1 1;2': write the subgoals as row,col"),
        ("1,1 1,2 x", "Cannot read the prompt '1,1 1,2 x': write the subgoals as r"),
        ("-1,1 1,2", "Cannot read the prompt '-1,1 1,2': write the subgoals as r"),
        ("1,1", "The number of subgoals is 1; 2 to 4 are allowed, start and goal "),
        ("1,1 1,2 1,1 1,2 1,1", "The number of subgoals is 5; 2 to 4 are allowed,"),
        (
            "1,1 5,1",
            "The subgoal 5,1 lies outside the maze: rows are 0 to 4, columns 0 to 4.",
        ),
        (
            "1,99 1,1",
            "The subgoal 1,99 lies outside the maze: rows are 0 to 4, columns 0 to 4.",
        ),
        ("1,1 0,2", "The subgoal 0,2 lies in a wall."),
        ("1,1 1,1 1,2", "The subgoal 1,1 is given twice in a row."),
        ("1,1 1,2 3,3", "No path joins the subgoals 1,2 and 3,3."),
    ],
)
def test_bad_prompts(text, complaint):
    task = make("own", maze=TWO_ROOMS, conditioning="prompt")
    with pytest.raises(InputError) as caught:
        task.parse_prompt(text)
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


def test_path_that_is_too_long():
    corridor = "#" + 40 * " " + "#\n"
    task = make("own", maze=corridor, conditioning="anchored")
    assert task.parse_prompt("0,1 0,32").length.tolist() == [32]
    with pytest.raises(InputError) as caught:
        task.parse_prompt("0,1 0,33")
    assert str(caught.value) == (
        "The shortest path through the subgoals has 33 cells; at most 32 are allowed."
    )
    # On the canvas there is room for more subgoals than the data have.
    assert task.parse_prompt("0,1 0,2 0,1 0,2 0,1 0,2").anchored.sum() == 6


def test_format():
    task = make()
    tokens = np.array([NUM_SPECIALS + 10, NUM_SPECIALS + 80, EOS_ID, 84, -1])
    assert task.format(tokens, 5) == "1,1 8,8 <eos> <84> <-1>"
    assert task.format(tokens, 0) == ""
    assert task.vocabulary[: NUM_SPECIALS + 1] == ("<pad>", "<bos>", "<eos>", "0,0")
    assert task.vocabulary[NUM_SPECIALS + 10] == "1,1"


# A maze of one's own.


def test_own_maze_is_like_one_of_ours(conditioning):
    for family in maze_generator.FAMILIES:
        text = maze_files.as_text(maze_generator.generate(family, 4, 2025))
        own, ours = (
            make(name, maze=maze, conditioning=conditioning).load("test")
            for name, maze in (("own", text), (family, None))
        )
        np.testing.assert_array_equal(own.tokens, ours.tokens)


def test_own_mazes_of_any_shape(conditioning):
    # Random grids: either the task says why not, or its examples are right.
    rng = np.random.default_rng(0)
    num_refused = 0
    for _ in range(16):
        text = maze_files.as_text(rng.random(rng.integers(1, 6, 2)) < rng.random())
        try:
            task = make("own", maze=text, conditioning=conditioning, num_test=3)
            rows = task.load("test")
        except InputError as error:
            num_refused += 1
            assert "\n" not in str(error)
            continue
        examples.check(rows, len(task.vocabulary))
        scores = task.score(rows, rows.tokens, rows.length, np.ones(3, bool))
        assert scores["success"].total.all()
    assert 2 < num_refused < 14


# The config.

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "mazes.py"


@pytest.fixture(scope="module")
def get_config():
    return runpy.run_path(str(CONFIG))["get_config"]


@pytest.mark.parametrize("tier", TIERS)
def test_config_builds_the_task(get_config, tier, conditioning):
    config = get_config(
        f"family=braided,tier={tier},conditioning={conditioning},size=smoke"
    )
    task = build.task(config)
    assert task.name == f"maze_braided_{tier}"
    assert task.max_length == TIERS[tier].max_length
    assert bool(task.prompt_length) == (conditioning == "prompt")
    build.loop_config(config)
    sizes = get_config(f"tier={tier}").task
    assert sizes.num_train == TIERS[tier].num_train
    assert sizes.num_validation == sizes.num_test == TIERS[tier].num_held_out
    assert get_config() == get_config("tier=tiny,family=perfect,conditioning=anchored")


def test_config_passes_other_choices_on(get_config):
    config = get_config("order=uniform,size=paper,tier=hard")
    assert config.method.order == "uniform"
    assert (config.network.num_layers, config.train.num_steps) == (12, 78_100)
    with pytest.raises(ValueError, match="order is 'x' in the config's argument"):
        get_config("order=x")


def test_config_reads_a_maze_file(get_config, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text(TWO_ROOMS)
    config = get_config(f"maze_file={path},size=smoke")
    path.unlink()  # A run needs its directory alone.
    task = build.task(config)
    assert (config.task.maze, task.name) == (TWO_ROOMS, "maze_own_tiny")
    with pytest.raises(InputError, match="mine.txt' cannot be read"):
        get_config(f"maze_file={path}")


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        (
            "familie=perfect",
            "no choice 'familie'; it has family, tier, conditioning, method",
        ),
        (
            "family=round",
            "family is 'round' .* allowed are perfect, imperfect, braided",
        ),
        ("family=perfect,maze_file=x", "has both family and maze_file; choose one"),
    ],
)
def test_config_refuses(get_config, argument, complaint):
    with pytest.raises(ValueError, match=complaint):
        get_config(argument)


def test_importing_does_not_load_matplotlib():
    code = (
        "import sys, insertion_jax.tasks.mazes;"
        "sys.exit('matplotlib' in sys.modules or 'flax' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
