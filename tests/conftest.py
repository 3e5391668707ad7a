"""Settings that must be made before jax starts its backend."""

import os

import jax

# Eight devices on any machine, so that placements are tested everywhere.
if "JAX_PLATFORMS" not in os.environ:
    jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
# A key that is used twice is an error.
jax.config.update("jax_debug_key_reuse", True)
