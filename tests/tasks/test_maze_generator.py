"""The three families: trees, opened walls, no dead ends, always the same mazes."""

import hashlib

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from insertion_jax.tasks import maze_files, maze_generator
from insertion_jax.tasks.maze_generator import FAMILIES
from insertion_jax.types import InputError

# SHA-256 of the mazes of the default seed as text: family, half of the side.
FROZEN = {
    ("perfect", 4): "0b02e128eea66aec821475c3f632dbda8596a82e80afb5bef7d003e3d0c1cd3e",
    ("imperfect", 4): (
        "acbb393950bd78b041100145a612a0c550660e15f3950e3faf0c1865a87b04d9"
    ),
    ("braided", 4): "03d5a42f83962c1e5f3f6b2a97eaf03a18a815e62d2e457669463a12e5c22954",
    ("perfect", 20): "6b78ae3c2e9db9d98d7358eeb1fbd5ac55466bef072eaf0bea7ca1cc97e0a88b",
    ("imperfect", 20): (
        "d3e096915e1d9f03067b066ecf65c16e1e6b5a2575afb51e687ad1ec60f119b1"
    ),
    ("braided", 20): "3e6dcb0f1aaa4e74bfb46f365b70589a3a8210641c3f4a8212d46ba6188a0f91",
}


def edges_of(walls):
    """Pairs of free cells that share an edge of the grid."""
    free = ~walls
    number = np.arange(walls.size).reshape(walls.shape)
    pairs = []
    for axis in (0, 1):
        first, second = (
            np.take(number, range(start, start + walls.shape[axis] - 1), axis)
            for start in (0, 1)
        )
        both = free.ravel()[first] & free.ravel()[second]
        pairs.append(np.stack([first[both], second[both]]))
    return np.concatenate(pairs, axis=1)


def num_pieces(walls):
    edges = edges_of(walls)
    graph = csr_array((np.ones(edges.shape[1]), edges), shape=(walls.size,) * 2)
    return connected_components(graph)[0] - walls.sum()


def num_neighbours(walls):
    """Of the free cells."""
    count = np.bincount(edges_of(walls).ravel(), minlength=walls.size)
    return count[~walls.ravel()]


def with_border(walls):
    return walls[[0, -1]].all() and walls[:, [0, -1]].all()


@pytest.mark.parametrize("half_side", [2, 3, 4, 10, 20])
@pytest.mark.parametrize("seed", [0, 2025])
def test_perfect_maze_is_a_tree(half_side, seed):
    walls = maze_generator.perfect(half_side, seed)
    assert walls.shape == (2 * half_side + 1,) * 2 and walls.dtype == bool
    assert with_border(walls)
    assert (~walls).sum() == 2 * half_side**2 - 1
    assert edges_of(walls).shape[1] == 2 * half_side**2 - 2
    assert num_pieces(walls) == 1


@pytest.mark.parametrize("seed", [0, 2025])
def test_imperfect_maze_opens_walls_between_free_cells(seed):
    perfect = maze_generator.perfect(10, seed)
    imperfect = maze_generator.generate("imperfect", 10, seed)
    free = ~perfect
    north_south = free[:-2, 1:-1] & free[2:, 1:-1]
    west_east = free[1:-1, :-2] & free[1:-1, 2:]
    candidates = perfect[1:-1, 1:-1] & (north_south | west_east)
    opened = (perfect & ~imperfect)[1:-1, 1:-1]
    assert with_border(imperfect) and not (imperfect & ~perfect).any()
    assert (opened <= candidates).all()
    assert opened.sum() == int(0.3 * candidates.sum()) > 20
    assert num_pieces(imperfect) == 1
    # Each opened wall closes at least one circle.
    num_circles = edges_of(imperfect).shape[1] - (~imperfect).sum() + 1
    assert num_circles >= opened.sum()


@pytest.mark.parametrize("half_side", [4, 10, 20])
@pytest.mark.parametrize("seed", [0, 2025])
def test_braided_maze_has_no_dead_ends(half_side, seed):
    perfect = maze_generator.perfect(half_side, seed)
    braided = maze_generator.generate("braided", half_side, seed)
    assert with_border(braided) and not (braided & ~perfect).any()
    dead_ends = (num_neighbours(perfect) == 1).sum()
    assert dead_ends > 2
    assert (num_neighbours(braided) > 1).all()
    assert 0 < (perfect & ~braided).sum() <= dead_ends
    assert num_pieces(braided) == 1


def test_the_seed_decides():
    for family in FAMILIES:
        mazes = [maze_generator.generate(family, 10, seed) for seed in (1, 1, 2)]
        assert (mazes[0] == mazes[1]).all()
        assert (mazes[0] != mazes[2]).any()


@pytest.mark.parametrize(("family", "half_side"), FROZEN)
def test_mazes_are_the_frozen_ones(family, half_side):
    text = maze_files.as_text(maze_generator.generate(family, half_side, 2025))
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert digest == FROZEN[family, half_side]


def test_unknown_family():
    with pytest.raises(
        InputError, match="'round': the families are perfect, imperfect, braided"
    ):
        maze_generator.generate("round", 4, 0)
