"""Mazes as text: read, written, refused."""

import numpy as np
import pytest

from insertion_jax.tasks import maze_files, maze_generator
from insertion_jax.types import InputError


@pytest.mark.parametrize("family", maze_generator.FAMILIES)
def test_round_trip(family, tmp_path):
    walls = maze_generator.generate(family, 7, 1)
    text = maze_files.as_text(walls)
    np.testing.assert_array_equal(maze_files.parse(text), walls)
    path = tmp_path / "maze.txt"
    path.write_text(text)
    np.testing.assert_array_equal(maze_files.read(path), walls)


@pytest.mark.parametrize(
    "text",
    ["# #\n   ", "# #\n   \n", "\n\n# #\n   \n\n", "# #\r\n   \r\n", "\ufeff# #\n   "],
)
def test_what_an_editor_may_add(text, tmp_path):
    path = tmp_path / "maze.txt"
    path.write_bytes(text.encode())
    assert maze_files.read(path).tolist() == [[True, False, True], [False] * 3]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "The maze is empty: write a line a row, of # and spaces."),
        ("\n\n", "The maze is empty: write a line a row, of # and spaces."),
        ("###\n###\n", "The maze has no free cell: each is a #."),
        (
            "####\n#  #\n# \n####\n",
            (
                "Line 3 of the maze has 2 characters and line 1 has 4: all must be of one "
                "length (an editor may have cut off spaces at the end)."
            ),
        ),
        (
            "\n###\n\n# #\n",
            (
                "Line 3 of the maze has 0 characters and line 2 has 3: all must be of one "
                "length (an editor may have cut off spaces at the end)."
            ),
        ),
        (
            "###\n#.#\n###\n",
            (
                "The maze has '.' in line 2, column 2; only # (wall) and spaces (free) are "
                "allowed."
            ),
        ),
        (
            "###\n#\t#\n",
            (
                "The maze has '\\t' in line 2, column 2; only # (wall) and spaces (free) "
                "are allowed."
            ),
        ),
    ],
)
def test_malformed(text, complaint):
    with pytest.raises(InputError) as caught:
        maze_files.parse(text)
    assert str(caught.value) == complaint


def test_files_that_cannot_be_read(tmp_path):
    missing = tmp_path / "missing.txt"
    with pytest.raises(InputError, match=r"missing.txt' cannot be read \(No such file"):
        maze_files.read(missing)
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        maze_files.read(tmp_path)
    binary = tmp_path / "picture.png"
    binary.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(InputError, match=r"picture.png' is no text: a maze is written"):
        maze_files.read(binary)
