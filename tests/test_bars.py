"""Progress of long work: a bar on a terminal, lines elsewhere, nothing of what is short."""

import itertools

import pytest

from insertion_jax import bars


def through(shown=True, total=4):
    items = bars.over(
        range(total), total, title="reading", unit="molecules", shown=shown
    )
    assert list(items) == list(range(total))


@pytest.fixture
def twenty_seconds_an_item(monkeypatch):
    clock = itertools.count(step=20)
    monkeypatch.setattr(bars.time, "monotonic", lambda: next(clock))


def test_lines_where_there_is_no_terminal(twenty_seconds_an_item, capsys):
    through(total=6)
    # The clock stands at 20, 40, 60 and so on when an item comes; the first one's time
    # says nothing of the others'.
    assert capsys.readouterr().err.splitlines() == [
        "reading: 2 of 6 molecules, 80 s left",
        "reading: 4 of 6 molecules, 40 s left",
    ]


def test_nothing_of_what_is_short_or_not_to_be_shown(
    twenty_seconds_an_item, monkeypatch, capsys
):
    through(shown=False)
    monkeypatch.setattr(bars, "_SECONDS", 1000.0)
    through()
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(bars.sys.stderr, "isatty", lambda: True, raising=False)
    through()
    error = capsys.readouterr().err
    assert "reading" in error and "molecules" in error
