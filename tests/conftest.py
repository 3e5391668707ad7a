"""Settings that must be made before jax starts its backend, and how to compile."""

import os

import jax
import pytest

# Eight devices on any machine, so that placements are tested everywhere.
if "JAX_PLATFORMS" not in os.environ:
    jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
# A key that is used twice is an error.
jax.config.update("jax_debug_key_reuse", True)


@pytest.fixture(scope="module")
def compile_fast():
    """Halves the time of tests that are nearly all compilation."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
