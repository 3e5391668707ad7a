import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.flax

from insertion_jax.training import weights
from insertion_jax.types import InputError

PARAMS = {
    "policy": {
        "block": {"kernel": jnp.arange(6.0).reshape(2, 3).T},
        "bias": jnp.ones(2),
    },
    "order": {"scale": jnp.asarray(0.5, jnp.bfloat16)},
}


def test_what_is_written_is_read(tmp_path):
    path = weights.write(tmp_path, PARAMS, 7)
    params, step = weights.read(tmp_path)
    assert step == 7
    assert jax.tree.structure(params) == jax.tree.structure(PARAMS)
    for there, here in zip(
        jax.tree.leaves(params), jax.tree.leaves(PARAMS), strict=True
    ):
        assert there.dtype == here.dtype
        np.testing.assert_array_equal(there, here)
    # Any other tool finds the same.
    found = safetensors.flax.load_file(path)
    assert set(found) == {"policy.block.kernel", "policy.bias", "order.scale"}
    np.testing.assert_array_equal(
        found["policy.block.kernel"], PARAMS["policy"]["block"]["kernel"]
    )


def test_a_broken_file_is_one_sentence(tmp_path):
    path = weights.write(tmp_path, PARAMS, 7)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match=r"model\.safetensors cannot be read"):
        weights.read(tmp_path)
