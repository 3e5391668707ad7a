"""Work in processes: in order, the same as in one, with its errors."""

import pytest

from insertion_jax.chemistry import descriptions, molecules, workers

TEXTS = ["OCC", "C1CC", "CC", "", "c1ccccc1"] * 3


@pytest.mark.parametrize("num_workers", [None, 1, 2])
def test_run(num_workers):
    found = workers.run(
        molecules.canonical, TEXTS, title="molecules", num_workers=num_workers
    )
    assert found == ["CCO", None, "CC", None, "c1ccccc1"] * 3


def test_errors_come_through():
    with pytest.raises(ZeroDivisionError):
        workers.run(_divide, [1, 0], title="division")


def _divide(x):
    return 1 / x


def test_describe_all():
    described = descriptions.describe_all(TEXTS)
    assert [d and d.smiles for d in described] == [
        "CCO",
        None,
        "CC",
        None,
        "c1ccccc1",
    ] * 3
    # A string that comes again is described once.
    assert described[0] is described[5]
    assert described[0].fragments == ("CCO",)
    assert described[0].scaffold is None
    assert described[0].passes_filters is None
    assert descriptions.describe_all([]) == []
