import numpy as np
import pytest
import tiny

from insertion_jax.networks import transformer
from insertion_jax.networks.transformer import TransformerConfig


def test_counts_are_those_of_the_prompt():
    vector = np.arange(17, dtype=np.float32)[:, None] * np.ones(16, np.float32)
    vectors = {"params": {"vector": vector}}
    prompt = np.array([3, 5, 3, 3, 7, 7] + 20 * [8])
    mask = np.arange(26) != 3
    tokens = np.array([3, 4, 5, 8])
    made = transformer.Counts(tiny.config()).apply(vectors, tokens, prompt, mask)
    np.testing.assert_array_equal(made[:, 0], [2, 0, 1, 16])
    np.testing.assert_array_equal(made[:, 1:], np.broadcast_to(made[:, :1], (4, 15)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 12, "num_heads": 8}, "width 12 is not a multiple of num_heads 8"),
        ({"width": 24, "num_heads": 8}, "even head width, got 24 / 8"),
        ({"dtype": "float16"}, "'float32', 'bfloat16' or 'mixed', got 'float16'"),
    ],
)
def test_config_errors(options, message):
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**options)
