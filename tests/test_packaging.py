"""What gets installed: versions that agree, pins within ranges, every module."""

import configparser
import hashlib
import pathlib
import re

import pytest
from packaging.requirements import Requirement

import insertion_jax

REPOSITORY = pathlib.Path(__file__).parents[1]
PINS = sorted((REPOSITORY / "constraints").glob("*.txt"))
ACCELERATORS = {"cuda", "cuda13", "tpu"}


def test_version():
    assert setup()["metadata"]["version"] == insertion_jax.__version__


@pytest.mark.parametrize("path", PINS, ids=lambda path: path.stem)
def test_pins_satisfy_the_ranges(path):
    pins = {pin.name: pin for pin in requirements(path.read_text())}
    extras = setup()["options.extras_require"]
    text = setup()["options"]["install_requires"] + "".join(
        text for extra, text in extras.items() if extra not in ACCELERATORS
    )
    ranges = requirements(text)
    assert len(ranges) > 10
    for needed in ranges:
        assert needed.name in pins, f"{needed.name} is not pinned"
        (pin,) = pins[needed.name].specifier
        assert pin.operator == "=="
        assert pin.version in needed.specifier, f"{pins[needed.name]}, but {needed}"


def test_one_file_of_pins_for_each_python():
    classifiers = setup()["metadata"]["classifiers"]
    pythons = re.findall(r"Python :: (\d)\.(\d+)", classifiers)
    assert [path.stem for path in PINS] == [f"py{a}{b}" for a, b in pythons]


def test_extras_ask_for_the_same_jax():
    for extra in ACCELERATORS:
        (needed,) = requirements(setup()["options.extras_require"][extra])
        assert needed.name == "jax"
        assert len(needed.extras) == 1
        assert not needed.specifier


def test_every_folder_is_a_package():
    # setuptools leaves out folders without an `__init__.py`, and says nothing.
    package = REPOSITORY / "insertion_jax"
    folders = {path.parent for path in package.rglob("*.py")}
    assert [f for f in folders if not (f / "__init__.py").exists()] == []


def test_every_file_is_installed():
    # setuptools installs Python alone unless [options.package_data] names more.
    package = REPOSITORY / "insertion_jax"
    files = [path for path in package.rglob("*") if path.is_file()]
    others = {path for path in files if path.suffix not in {".py", ".pyc"}}
    config = setup()
    config.read_dict({"options.package_data": {}})
    patterns = " ".join(config["options.package_data"].values()).split()
    assert others == {path for pattern in patterns for path in package.glob(pattern)}


def test_license_is_apache():
    assert setup()["metadata"]["license"] == "Apache-2.0"
    text = (REPOSITORY / "LICENSE").read_text()
    words = " ".join(text.split())
    assert words.startswith("Apache License Version 2.0, January 2004")
    # The words of https://www.apache.org/licenses/LICENSE-2.0.txt, whatever the lines.
    assert (
        hashlib.sha256(words.encode()).hexdigest()
        == "0ffddef9e48f8a09aed5caf2d44f7ba1c1be2d9b8e0a6f693b1635b2d5566645"
    )


def setup() -> configparser.ConfigParser:
    """Reads setup.cfg."""
    config = configparser.ConfigParser()
    config.read(REPOSITORY / "setup.cfg")
    return config


def requirements(text: str) -> list[Requirement]:
    """Reads requirements, one a line; a line that starts with # is a comment."""
    lines = (line.strip() for line in text.split("\n"))
    return [Requirement(line) for line in lines if line and not line.startswith("#")]
