"""The splits: right paths, subgoals on them, nothing shared, always the same."""

import functools
import itertools

import pytest

from insertion_jax.tasks import maze_examples, maze_files, maze_generator
from insertion_jax.tasks.maze_examples import SPLITS, TIERS, split_examples
from insertion_jax.tasks.maze_generator import FAMILIES
from insertion_jax.tasks.maze_paths import Maze
from insertion_jax.types import InputError

COUNT = 60

# SHA-256 of the first 50 examples of the default seed: family, tier, split.
FROZEN = {
    ("perfect", "tiny", "train"): (
        "2b704b95e6cb64c19ab169e60b0ed07c53c7046b38f402cfde11b77bb413ff43"
    ),
    ("imperfect", "tiny", "train"): (
        "c0acfe7f40a17dbbfb5d475ad26dbd53202219b254647a17c85ccabc78524726"
    ),
    ("braided", "tiny", "train"): (
        "1b461a67455a05329358e7ef458c4d4ef47e8ff35241e67d221cb3d4912921b4"
    ),
    ("perfect", "tiny", "test"): (
        "ba0801b9a43edfc37c4bc6913189befbce6f48de93b200a80935077588ce2825"
    ),
    ("imperfect", "tiny", "test"): (
        "cc844ad135b2e14b350b88fbfd2b929715174b82198055bcd0d88f4a0e1d46cd"
    ),
    ("braided", "tiny", "test"): (
        "49f16f99a616a093da3964c24aa3489ffc0299329292022b9e8c467acfee9b1e"
    ),
    ("perfect", "hard", "test"): (
        "e9c44e438b624220c160d1230bf17cac4a62cff02a71c96a9cbcfea4fa205bcd"
    ),
    ("imperfect", "hard", "test"): (
        "770414af6b022ec157043c65927950498952dbda151066e859db9925ba5abca8"
    ),
    ("braided", "hard", "test"): (
        "80f770131922aeb3628c7a5fb4ce1407d38dc11149ba3d85fcb3439d1c6fca48"
    ),
    ("perfect", "subgoals12", "test"): (
        "0086ecedfdec4265e807e7af85abe701d4aeb5f03e1d2ead836f23f3b779e2f2"
    ),
}


@functools.cache
def maze_of(family, half_side):
    return Maze(maze_generator.generate(family, half_side, 2025))


@functools.cache
def examples_of(family, tier, split, count=COUNT):
    maze = maze_of(family, TIERS[tier].half_side)
    return list(split_examples(maze, TIERS[tier], split, count=count, seed=2025))


def all_in_a_row(cells, width):
    rows = [divmod(cell, width) for cell in cells]
    return all(
        abs(a - c) + abs(b - d) == 1 for (a, b), (c, d) in itertools.pairwise(rows)
    )


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_examples(family, tier):
    limits, maze = TIERS[tier], maze_of(family, TIERS[tier].half_side)
    examples = examples_of(family, tier, "train")
    assert len(examples) == COUNT
    free = set(maze.cells.tolist())
    all_subgoals, comes_back = set(), False
    for path, anchors in examples:
        assert free.issuperset(path)
        assert all_in_a_row(path, maze.width)
        assert len(path) <= limits.max_length
        assert limits.min_subgoals <= len(anchors) <= limits.max_subgoals
        assert (anchors[0], anchors[-1]) == (0, len(path) - 1)
        assert list(anchors) == sorted(set(anchors))
        subgoals = tuple(path[i] for i in anchors)
        assert len(set(subgoals)) == len(subgoals)
        all_subgoals.add(subgoals)
        comes_back |= len(set(path)) < len(path)
    assert len(all_subgoals) == COUNT
    # Only paths that were drawn after their subgoals may come back.
    assert comes_back == (family == "perfect" and not limits.path_first)


@pytest.mark.parametrize("family", FAMILIES)
def test_splits_share_no_pair_of_start_and_goal(family):
    pairs = [
        {(e.path[0], e.path[-1]) for e in examples_of(family, "tiny", split, 300)}
        for split in SPLITS
    ]
    for one, other in itertools.combinations(pairs, 2):
        assert one.isdisjoint(other)
    # It is not the cells that differ: the starts are mostly the same.
    starts = [{start for start, _ in of_split} for of_split in pairs]
    assert len(starts[0] & starts[2]) > 20


def test_paths_of_a_tree_are_the_shortest_through_their_subgoals():
    maze = maze_of("perfect", 10)
    for path, anchors in examples_of("perfect", "easy", "test"):
        nodes = [int(maze.node_of[path[i]]) for i in anchors]
        joined, places = maze.join(nodes)
        assert (maze.cells[joined].tolist(), places) == (list(path), list(anchors))


def test_other_mazes_have_detours():
    maze = maze_of("braided", 10)
    longer = [
        len(path) - 1 - maze.distance[maze.node_of[path[0]], maze.node_of[path[-1]]]
        for path, _ in examples_of("braided", "easy", "train")
    ]
    assert min(longer) == 0 < max(longer)
    assert sum(extra > 0 for extra in longer) > COUNT / 2


def test_a_split_begins_like_a_longer_one():
    for family in FAMILIES:
        few = examples_of(family, "tiny", "validation", 20)
        assert few == examples_of(family, "tiny", "validation", 100)[:20]


def test_the_seed_decides():
    maze = maze_of("braided", 4)
    few = [
        list(split_examples(maze, TIERS["tiny"], "train", count=5, seed=seed))
        for seed in (1, 1, 2)
    ]
    assert few[0] == few[1] != few[2]


@pytest.mark.parametrize(("family", "tier", "split"), FROZEN)
def test_examples_are_the_frozen_ones(family, tier, split):
    digest = maze_examples.checksum(examples_of(family, tier, split)[:50])
    assert digest == FROZEN[family, tier, split]


def test_all_numbers_of_subgoals_occur():
    for family in ("perfect", "imperfect"):
        found = {len(e.anchors) for e in examples_of(family, "easy", "train")}
        assert found == {2, 3, 4}


@pytest.mark.parametrize(
    ("text", "tier", "count", "complaint"),
    [
        (
            "   ",
            "tiny",
            5,
            "The maze has 6 pairs of start and goal that a path joins; ",
        ),
        (
            "    ",
            "hard",
            5,
            "The maze has 4 free cells, fewer than the 12 subgoals of the hard tier.",
        ),
        (
            "   \n   ",
            "hard",
            100,
            r"The maze seems to have no more than \d+ of the 100 examples asked for the train",
        ),
        (
            "     \n#####\n     ",
            "tiny",
            1_000,
            r"The maze, whose free cells fall into 2 regions apart, seems",
        ),
    ],
)
def test_mazes_with_too_few_paths(text, tier, count, complaint):
    maze = Maze(maze_files.parse(text))
    with pytest.raises(InputError, match=complaint):
        list(split_examples(maze, TIERS[tier], "train", count=count, seed=0))


def test_pieces_are_not_mixed():
    maze = Maze(maze_files.parse("     \n#####\n     "))
    examples = list(split_examples(maze, TIERS["tiny"], "train", count=10, seed=0))
    assert all(all_in_a_row(path, 5) for path, _ in examples)
    assert {path[0] // 5 for path, _ in examples} == {0, 2}


def test_unknown_split():
    with pytest.raises(InputError, match="'dev': the splits are train, validation"):
        next(
            split_examples(maze_of("perfect", 4), TIERS["tiny"], "dev", count=1, seed=0)
        )
