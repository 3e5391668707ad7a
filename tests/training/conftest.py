"""What the tests of training share.

Each `train` call compiles its step anew; a compilation cache in a temporary folder
makes these calls, and the processes that tests start, several times faster.
"""

import pathlib
import sys

import jax
import pytest

# Makes `toy.py` importable.
sys.path.insert(0, str(pathlib.Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("compilation_cache"))
    jax.config.update("jax_compilation_cache_dir", path)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    yield path
    jax.config.update("jax_compilation_cache_dir", None)
