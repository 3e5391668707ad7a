"""The house rules of the package, read off its source without running it.

Each rule takes the root of a source tree and gives a list of complaints, so that the
last test can show it a tree that breaks it.
"""

import ast
import configparser
import pathlib
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

import pytest

REPOSITORY = pathlib.Path(__file__).parents[1]
PACKAGE = "insertion_jax"

# What each part may import besides itself, from the ground up. A part is a module or
# a folder directly under the package. A new part gets a line here; a part that wants
# what its line does not name is most often in the wrong place.
MAY_IMPORT = {
    "types": set(),
    "bars": set(),
    "core": {"types"},
    "chemistry": {"bars", "types"},
    "estimates": {"types"},
    "tasks": {"bars", "chemistry", "core", "estimates", "types"},
    "networks": {"core", "types"},
    "methods": {"core", "types"},
    "training": {"core", "types"},
    "build": {"tasks", "networks", "methods", "training", "core", "types"},
    "sampling": {"bars", "core", "types"},
    "evaluation": {"estimates", "sampling", "core", "types"},
    "order_analysis": {"evaluation", "sampling", "types"},
    "runs": {"training", "types"},
    "model_card": {"runs"},
    "released": {"model_card", "runs", "training", "types"},
    "modes": {
        "build",
        "evaluation",
        "order_analysis",
        "released",
        "runs",
        "sampling",
        "tasks",
        "training",
        "types",
    },
    "command_line": {"training", "types"},
    "main": {"command_line", "modes", "released", "types"},
    # The public interface: what `import insertion_jax` gives.
    "__init__": {"core", "methods", "types"},
}

# All the libraries that the pure parts may import. The other parts may import
# whatever is installed with the package ...
PURE = {"chex", "jax", "numpy"}
LIBRARIES = {
    "__init__": set(),
    "types": PURE,
    "core": PURE,
    "methods": PURE,
    "networks": PURE | {"flax"},
}

# ... except what is kept to the parts that are there for it.
ONLY_IN = {
    "flax": {"networks"},
    "ml_collections": {"build", "command_line", "main", "modes", "runs"},
    "optax": {"training"},
    "orbax": {"training"},
    "rdkit": {"chemistry"},
    "tensorboardX": {"training"},
}

MAX_LINES = 450
EMPTY_NAMES = {"common", "helper", "helpers", "misc", "util", "utils"}


class Import(NamedTuple):
    """One import statement's name, and where it stands."""

    path: pathlib.Path
    line: int
    importer: str
    imported: str

    def __str__(self):
        return f"{self.path.name}:{self.line} imports {self.imported}"


def test_layers():
    assert broken_layers(REPOSITORY) == []


def test_no_cycles():
    assert cycles(REPOSITORY) == []


def test_libraries():
    assert broken_libraries(REPOSITORY) == []


def test_files_are_short():
    assert long_files(REPOSITORY) == []


def test_names_say_something():
    assert empty_names(REPOSITORY) == []


def test_importing_the_package_costs_what_jax_costs():
    # chex adds some 0.06 s to the second that jax takes.
    code = """
        import sys
        import chex, jax
        before = set(sys.modules)
        import insertion_jax
        print(*sorted(set(sys.modules) - before))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    added = done.stdout.split()
    assert PACKAGE in added
    libraries = {name.split(".")[0] for name in added} - sys.stdlib_module_names
    assert libraries == {PACKAGE}


SOUND_TREE = {
    "__init__.py": "from insertion_jax.core.a import x as x",
    "types.py": "",
    "core/__init__.py": "",
    "core/a.py": "import json\nimport jax.numpy as jnp\nfrom insertion_jax.core import b",
    "core/b.py": "",
    "tasks/maze.py": "from insertion_jax.types import Task",
    "training/loop.py": "import optax\nimport insertion_jax.core.a",
    "build.py": "from insertion_jax.tasks import maze\nfrom ml_collections import C",
    "evaluation.py": "",
    "modes.py": "from insertion_jax import build, evaluation",
    "main.py": "from absl import app\nfrom insertion_jax import modes",
}


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("core/a.py", "from insertion_jax import tasks", "imports insertion_jax.tasks"),
        ("core/a.py", "from insertion_jax.tasks import maze", "insertion_jax.tasks"),
        ("core/a.py", "def f():\n    import insertion_jax.main", "insertion_jax.main"),
        ("tasks/maze.py", "import insertion_jax", "imports insertion_jax"),
        ("tasks/maze.py", "from insertion_jax import x", "imports insertion_jax"),
        ("core/a.py", "from . import b", "relative"),
        ("training/loop.py", "import insertion_jax.build as b", "insertion_jax.build"),
        ("build.py", "import insertion_jax.evaluation", "insertion_jax.evaluation"),
        ("shed.py", "", "shed has no line in MAY_IMPORT"),
        ("core/b.py", "import insertion_jax.core.a", "core.a -> insertion_jax.core.b"),
        ("core/a.py", "import flax.linen as nn", "imports flax"),
        ("core/a.py", "import scipy.stats", "imports scipy"),
        ("training/loop.py", "from flax import struct", "imports flax"),
        ("tasks/maze.py", "def f():\n    import rdkit.Chem", "imports rdkit"),
        ("tasks/maze.py", "import torch", "imports torch"),
        ("core/a.py", "\n" * 450 + "x = 1", "a.py has 451 lines"),
        ("core/utils.py", "", "utils"),
        ("core/a.py", "class C:\n    def helper(self): ...", "a.py:2 defines helper"),
    ],
)
def test_the_rules_notice(tmp_path, name, source, complaint):
    assert complaints(tmp_path / "sound", SOUND_TREE) == []
    found = complaints(tmp_path / "broken", SOUND_TREE | {name: source})
    assert len(found) == 1, found
    assert complaint in found[0]


def complaints(root: pathlib.Path, tree: dict[str, str]) -> list[str]:
    """Writes a tree of the package and applies every rule to it."""
    for name, source in tree.items():
        path = root / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    rules = [broken_layers, cycles, broken_libraries, long_files, empty_names]
    return [complaint for rule in rules for complaint in rule(root)]


def broken_layers(root: pathlib.Path) -> list[str]:
    """Imports against MAY_IMPORT, relative imports, and parts it does not know."""
    parts = {part_of(module_of(root, path)) for path in sources(root)}
    unknown = parts - MAY_IMPORT.keys()
    found = [f"{part} has no line in MAY_IMPORT" for part in sorted(unknown)]
    for entry in imports(root):
        part = part_of(entry.importer)
        if entry.imported.startswith("."):
            found.append(f"{entry}, a relative import")
            continue
        allowed = {part} | MAY_IMPORT.get(part, parts)
        if is_ours(entry) and part_of(entry.imported) not in allowed:
            found.append(str(entry))
    return found


def cycles(root: pathlib.Path) -> list[str]:
    """The first circle of modules that import one another, if there is one."""
    graph = {}
    for entry in filter(is_ours, imports(root)):
        graph.setdefault(entry.importer, set()).add(entry.imported)
    finished = set()

    def search(module, path):
        if module in path:
            return [" -> ".join([*path[path.index(module) :], module])]
        if module not in finished:
            for imported in sorted(graph.get(module, ())):
                if found := search(imported, [*path, module]):
                    return found
            finished.add(module)
        return []

    for module in sorted(graph):
        if found := search(module, []):
            return found
    return []


def broken_libraries(root: pathlib.Path) -> list[str]:
    """Imports against LIBRARIES and ONLY_IN, and of what is not installed."""
    installed = installed_libraries()
    found = []
    for entry in imports(root):
        library = entry.imported.split(".")[0]
        if library in {"", PACKAGE} or library in sys.stdlib_module_names:
            continue
        part = part_of(entry.importer)
        allowed = library in LIBRARIES.get(part, installed)
        if not (allowed and part in ONLY_IN.get(library, {part})):
            found.append(str(entry))
    return found


def long_files(root: pathlib.Path) -> list[str]:
    """Files of more than MAX_LINES lines."""
    lengths = {path: len(path.read_text().splitlines()) for path in sources(root)}
    return [
        f"{path.name} has {length} lines, more than {MAX_LINES}"
        for path, length in lengths.items()
        if length > MAX_LINES
    ]


def empty_names(root: pathlib.Path) -> list[str]:
    """Modules, folders, classes and functions with a name that says nothing."""
    found = []
    for path in sources(root):
        module = module_of(root, path)
        if not EMPTY_NAMES.isdisjoint(module.split(".")):
            found.append(f"{module} is named for nothing it does")
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node, "name", None) or ""
            if name.strip("_").lower() in EMPTY_NAMES:
                found.append(f"{path.name}:{node.lineno} defines {name}")
    return found


def imports(root: pathlib.Path) -> Iterator[Import]:
    """Every import of the package, those inside functions too.

    `from a import b` imports the module a.b if there is one, else a.
    """
    modules = {module_of(root, path) for path in sources(root)}
    folders = {module.rsplit(".", 1)[0] for module in modules}
    for path in sources(root):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level:
                names = {"." * node.level + (node.module or "")}
            elif isinstance(node, ast.ImportFrom):
                full = {f"{node.module}.{alias.name}" for alias in node.names}
                names = {
                    name if name in modules | folders else node.module for name in full
                }
            else:
                continue
            importer = module_of(root, path)
            for name in sorted(names):
                yield Import(path, node.lineno, importer, name)


def sources(root: pathlib.Path) -> list[pathlib.Path]:
    """The files of the package."""
    return sorted((root / PACKAGE).rglob("*.py"))


def module_of(root: pathlib.Path, path: pathlib.Path) -> str:
    """The dotted name of a file; that of its folder for an `__init__.py`."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """The part to which a module belongs; "__init__" for the package itself."""
    return (module.split(".") + ["__init__"])[1]


def is_ours(entry: Import) -> bool:
    """Whether the imported module is one of the package."""
    return entry.imported.split(".")[0] == PACKAGE


def installed_libraries() -> set[str]:
    """What setup.cfg installs, by the names under which it is imported."""
    config = configparser.ConfigParser()
    config.read(REPOSITORY / "setup.cfg")
    lines = config["options"]["install_requires"].split("\n")
    names = {re.match(r"[\w-]*", line)[0] for line in lines if line}
    renamed = {
        "absl-py": "absl",
        "ml-collections": "ml_collections",
        "orbax-checkpoint": "orbax",
    }
    return {renamed.get(name, name) for name in names}
