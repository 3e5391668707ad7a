"""Orders of insertion: made up ones, and what says nothing."""

import numpy as np
import pytest

from insertion_jax import evaluation
from insertion_jax.tasks import insertion_orders

TOKENS = ["C", "1", "(", "=", "[13CH2]", ")", "C", "1"]


def value(score):
    return evaluation.estimate(score).value


def test_skeleton_first():
    skeleton = [5, 0, 1, 2, 6, 3, 7, 4]
    atoms = [0, 3, 4, 5, 1, 6, 2, 7]
    one = insertion_orders.measure([TOKENS], [skeleton])
    other = insertion_orders.measure([TOKENS], [atoms])
    assert value(one.skeleton_first) == 1
    assert value(other.skeleton_first) == 0
    assert value(one.mean_time["ring"]) == pytest.approx(2 / 7)
    assert value(one.mean_time["atom"]) == pytest.approx(6 / 7)
    assert value(other.mean_time["atom"]) == pytest.approx(1 / 7)
    assert set(one.mean_time) == {"atom", "bond", "ring", "parenthesis"}


def test_random_orders_favour_nothing():
    rng = np.random.default_rng(0)
    steps = [rng.permutation(len(TOKENS)) for _ in range(2000)]
    order = insertion_orders.measure([TOKENS] * 2000, steps)
    for score in order.mean_time.values():
        estimate = evaluation.estimate(score)
        assert estimate.low < 0.5 < estimate.high
    # 3! 5! of 8! orders have the skeleton first.
    estimate = evaluation.estimate(order.skeleton_first)
    assert estimate.low < 720 / 40320 < estimate.high


def test_anchors_do_not_count():
    order = insertion_orders.measure([["C", "(", "C", ")"]], [[-1, 0, 1, -1]])
    assert value(order.skeleton_first) == 1
    assert value(order.mean_time["parenthesis"]) == 0


@pytest.mark.parametrize(
    ("tokens", "balanced"),
    [
        (TOKENS, True),
        (["C", "("], False),
        (["C", "1", "C"], False),
        (["C", "%12", "C", "%12"], True),
        (["[13CH4]"], True),
        ([], True),
    ],
)
def test_balanced(tokens, balanced):
    order = insertion_orders.measure([tokens], [range(len(tokens))])
    assert value(order.balanced) == balanced
