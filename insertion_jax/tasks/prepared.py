"""Data that are prepared once and kept in a folder, all or nothing."""

import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Store(NamedTuple):
    """What a preparation made.

    Attributes:
      arrays: by name; memory maps if they were read from a folder.
      texts: by name a function that reads a list of lines.
      meta: anything that JSON can hold.
    """

    arrays: Mapping[str, np.ndarray]
    texts: Mapping[str, Callable[[], list[str]]]
    meta: Mapping[str, Any]


Build = Callable[[], tuple[dict[str, np.ndarray], dict[str, list[str]], dict[str, Any]]]


def key_of(*parts: Any) -> str:
    """A short hash of all that decides what a preparation makes.

    Args:
      *parts: anything that JSON can hold.
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def in_memory(build: Build) -> Store:
    """Prepares without a folder."""
    arrays, texts, meta = build()
    readers = {name: lambda lines=lines: lines for name, lines in texts.items()}
    return Store(arrays, readers, meta)


def in_folder(folder: str | os.PathLike, build: Build) -> Store:
    """Prepares into a folder, or reads it if it is there.

    It is written under another name and renamed when it is complete; what an
    interrupted preparation left is removed.

    Args:
      folder: its name should have the `key_of` what it holds.
      build: gives arrays, texts (lines without line breaks) and meta.
    """
    folder = pathlib.Path(folder)
    if not folder.exists():
        partial = folder.with_name(folder.name + ".partial")
        if partial.exists():
            shutil.rmtree(partial)
        arrays, texts, meta = build()
        partial.mkdir(parents=True)
        for name, array in arrays.items():
            np.save(partial / f"{name}.npy", array)
        for name, lines in texts.items():
            (partial / f"{name}.txt").write_text("".join(f"{x}\n" for x in lines))
        (partial / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")
        partial.rename(folder)

    def reader(path):
        return lambda: path.read_text().splitlines()

    return Store(
        arrays={p.stem: np.load(p, mmap_mode="r") for p in folder.glob("*.npy")},
        texts={p.stem: reader(p) for p in folder.glob("*.txt")},
        meta=json.loads((folder / "meta.json").read_text()),
    )
