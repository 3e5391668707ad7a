"""Scores against a reading of the rules one path at a time."""

import itertools

import numpy as np
import pytest

from insertion_jax.tasks import maze_files, maze_generator, maze_scores, mazes
from insertion_jax.tasks.maze_paths import Maze
from insertion_jax.types import EOS_ID, NUM_SPECIALS, Batch

SIZES = {"num_train": 8, "num_validation": 1, "num_test": 60}
MAZE = Maze(maze_files.parse("#######\n#     #\n# ### #\n# #   #\n#   # #\n#######"))


def succeeds(cells, subgoals, walls):
    """The criterion, word for word."""
    height, width = walls.shape
    if not cells or any(not 0 <= c < height * width for c in cells):
        return False
    places = [divmod(c, width) for c in cells]
    if any(walls[place] for place in places):
        return False
    for (a, b), (c, d) in itertools.pairwise(places):
        if abs(a - c) + abs(b - d) != 1:
            return False
    rest = iter(cells)
    return all(subgoal in rest for subgoal in subgoals)


def values_of(scores):
    return {name: s.total.sum() / s.count.sum() for name, s in scores.items()}


def scores_of(answer, subgoals=((1, 1), (1, 5))):
    """Of one path through `MAZE`, given as cells."""
    prompt = np.array([[7 * r + c + NUM_SPECIALS for r, c in subgoals]])
    tokens = np.zeros((1, 12), int)
    tokens[0, : len(answer)] = [7 * r + c + NUM_SPECIALS for r, c in answer]
    example = Batch(
        prompt=prompt,
        prompt_mask=np.ones_like(prompt, bool),
        tokens=np.zeros((1, 12), int),
        length=np.zeros(1, int),
        anchored=np.zeros((1, 12), bool),
        closed=np.zeros((1, 13), bool),
        index=np.zeros(1, int),
    )
    length = np.array([len(answer)])
    return values_of(
        maze_scores.score(example, tokens, length, np.array([True]), maze=MAZE)
    )


@pytest.mark.parametrize("conditioning", mazes.CONDITIONINGS)
@pytest.mark.parametrize("tier", ["tiny", "easy"])
@pytest.mark.parametrize("family", maze_generator.FAMILIES)
def test_the_data_succeed(family, tier, conditioning):
    task = mazes.make(family, tier, conditioning=conditioning, **SIZES)
    for split in ("train", "test"):
        rows = task.load(split)
        stopped = np.ones(len(rows.length), bool)
        scores = task.score(rows, rows.tokens, rows.length, stopped)
        assert next(iter(scores)) == "success"
        values = values_of(scores)
        for name in ("success", "exact_match", "moves_valid", "subgoals_visited"):
            assert values.pop(name) == 1
        assert values.pop("termination") == 1
        assert values.pop("length") == rows.length.mean()
        assert values.pop("length_over_shortest") >= 1
        assert 0 < values.pop("shortest") <= 1
        assert "first_failure" not in values
        assert values and all(name.startswith("success_with_") for name in values)
        if family == "perfect":
            assert scores["shortest"].total.all()


def test_success_is_the_criterion():
    # Half a reference, half damaged: both outcomes, and all kinds of damage.
    task = mazes.make("imperfect", "tiny", conditioning="prompt", **SIZES)
    rows = task.load("test")
    walls = maze_generator.generate("imperfect", 4, 2025)
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(20):
        tokens, length = rows.tokens.copy(), rows.length.copy()
        for i in range(len(tokens)):
            at = rng.integers(length[i])
            match rng.integers(6):
                case 0:
                    tokens[i, at] = rng.integers(-2, 100)
                case 1:
                    length[i] = at
                case 2:  # there and back again
                    longer = np.insert(tokens[i], at + 1, tokens[i, [at - 1, at]])
                    tokens[i], length[i] = longer[:-2], length[i] + 2
                case 3:
                    shorter = np.delete(tokens[i], at)
                    tokens[i], length[i] = np.append(shorter, 0), length[i] - 1
                case 4:
                    tokens[i, : length[i]] = tokens[i, : length[i]][::-1]
        length = np.minimum(length, tokens.shape[1])
        scores = task.score(rows, tokens, length, np.ones(len(tokens), bool))
        for i, found in enumerate(scores["success"].total):
            expected = succeeds(
                (tokens[i, : length[i]] - NUM_SPECIALS).tolist(),
                (rows.prompt[i][rows.prompt_mask[i]] - NUM_SPECIALS).tolist(),
                walls,
            )
            assert bool(found) == expected
            outcomes.add((expected, bool(scores["moves_valid"].total[i])))
        failed = scores["success"].total == 0
        np.testing.assert_array_equal(scores["first_failure"].count, failed)
    assert outcomes == {(True, True), (False, False), (False, True)}


@pytest.mark.parametrize(
    ("answer", "position"),
    [
        ([(1, 1), (1, 2), (2, 2), (1, 2)], 2),  # into a wall
        ([(1, 1), (1, 2), (1, 4), (1, 5)], 2),  # a jump
        ([(1, 1), (1, 1), (1, 2)], 1),  # no move
        ([(0, 1), (1, 1)], 0),  # begins in a wall
        ([(1, 1), (1, 2), (1, 3)], 3),  # ends before the goal
        ([], 0),
        ([(1, 5), (1, 6)], 1),
        ([(3, 5), (4, -2)], 1),  # 4,-2 is 3,5 again
    ],
)
def test_first_failure(answer, position):
    values = scores_of(answer)
    assert values["success"] == 0
    assert values["first_failure"] == position


def test_rows_do_not_touch_around_the_edge():
    # Cells 5 and 6 of rows 0 and 1 of a grid two wide: 1 and 2 are no neighbours.
    maze = Maze(np.zeros((3, 2), bool))
    tokens = np.array([[1, 2]]) + NUM_SPECIALS
    assert maze_scores.first_invalid(tokens, np.array([2]), maze).tolist() == [1]
    assert maze_scores.first_invalid(tokens + 1, np.array([2]), maze).tolist() == [-1]


def test_tokens_that_are_no_cells_fail():
    for token in (-1, 0, EOS_ID, 700):
        tokens = np.array([[NUM_SPECIALS + 8, token, NUM_SPECIALS + 9]])
        invalid = maze_scores.first_invalid(tokens, np.array([3]), MAZE)
        assert invalid.tolist() == [1]


def test_length_against_the_shortest():
    around = [(1, 1), (2, 1), (3, 1), (4, 1), (4, 2), (4, 3), (3, 3), (3, 4), (3, 5)]
    values = scores_of([*around, (2, 5), (1, 5)])
    assert values["success"] == 1 and values["shortest"] == 0
    assert values["length_over_shortest"] == 11 / 5
    assert scores_of([(1, c) for c in range(1, 6)])["shortest"] == 1


def test_start_and_goal_may_lie_inside():
    walk = [(2, 1), (1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (2, 5)]
    values = scores_of(walk)
    assert values["success"] == 1
    assert values["length_over_shortest"] == 7 / 5


def test_order_of_subgoals():
    there = [(1, c) for c in range(1, 6)]
    assert scores_of(there, [(1, 1), (1, 3), (1, 5)])["success"] == 1
    values = scores_of(there, [(1, 1), (1, 5), (1, 3)])
    assert values["success"] == 0 and values["moves_valid"] == 1
    assert values["subgoals_visited"] == 2 / 3
    # A subgoal that comes twice has to be visited twice.
    assert scores_of(there, [(1, 1), (1, 5), (1, 1)])["subgoals_visited"] == 2 / 3


def test_by_number_of_subgoals():
    task = mazes.make("perfect", "tiny", **SIZES)
    rows = task.load("test")
    count = rows.anchored.sum(axis=1)
    length = np.where(count == 3, 1, rows.length)
    scores = task.score(rows, rows.tokens, length, np.ones(60, bool))
    for k in (2, 3, 4):
        score = scores[f"success_with_{k}_subgoals"]
        assert score.is_rate
        np.testing.assert_array_equal(score.count, count == k)
        np.testing.assert_array_equal(score.total, (count == k) & (k != 3))
    assert "success_with_5_subgoals" not in scores
    assert (count == 3).any()


def test_no_samples():
    task = mazes.make("perfect", "tiny", **SIZES)
    rows = Batch(*(array[:0] for array in task.load("test")))
    assert task.score(rows, rows.tokens, rows.length, np.ones(0, bool)) == {}
