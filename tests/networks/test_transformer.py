import functools

import jax
import numpy as np
import pytest
import tables
import tiny

from insertion_jax.networks import canvas, order, transformer
from insertion_jax.networks.transformer import TransformerConfig
from insertion_jax.types import Canvas


def test_counts_are_those_of_the_prompt():
    vector = np.arange(17, dtype=np.float32)[:, None] * np.ones(16, np.float32)
    vectors = {"params": {"vector": vector}}
    prompt = np.array([3, 5, 3, 3, 7, 7] + 20 * [8])
    mask = np.arange(26) != 3
    tokens = np.array([3, 4, 5, 8])
    made = transformer.Counts(tiny.config()).apply(vectors, tokens, prompt, mask)
    np.testing.assert_array_equal(made[:, 0], [2, 0, 1, 16])
    np.testing.assert_array_equal(made[:, 1:], np.broadcast_to(made[:, :1], (4, 15)))


@pytest.mark.parametrize("size", [6, 7])
def test_tokens_of_a_prompt_are_told_their_record(size):
    """All of their record, by place, and nothing of other records or of padding."""
    c = tiny.config(prompt_record=2, neighbours=True)
    segment = transformer.Segment(c)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(size, c.width)).astype(np.float32)
    mask, prompt = np.arange(size) < 5, np.zeros(size, np.int32)
    params = tiny.random_params(segment.init, x, mask, prompt)

    def run(x):
        return np.asarray(segment.apply(params, x, mask, prompt))

    kernel = params["params"]["record"]["kernel"]
    record = np.concatenate([x[2], x[3]]) @ kernel
    np.testing.assert_allclose(
        run(x)[2:4], x[2:4] + record.reshape(2, -1), rtol=1e-5, atol=1e-5
    )
    for place, seen_by in [(0, [0, 1]), (3, [2, 3]), (4, [4, 5]), (5, [5])]:
        changed = x.copy()
        changed[place] += 1.0
        differs = np.abs(run(changed) - run(x)).max(axis=1) > 1e-6
        np.testing.assert_array_equal(np.flatnonzero(differs), seen_by)


def test_an_empty_prompt_has_no_record():
    segment = transformer.Segment(tiny.config(prompt_record=2))
    none = np.zeros((0, 16), np.float32), np.zeros(0, bool), np.zeros(0, np.int32)
    made, _ = segment.init_with_output(jax.random.key(0), *none)
    assert made.shape == (0, 16)


def test_a_ratio_of_8_thirds_has_as_many_weights_as_two_matrices_of_ratio_4():
    c = TransformerConfig(width=24, num_heads=2, mlp_ratio=8 / 3)
    assert c.hidden_width == 64
    block = transformer.Block(c)
    rows, mask = np.zeros((5, 24), np.float32), np.ones(5, bool)
    params = jax.eval_shape(
        lambda: block.init(jax.random.key(0), rows, np.arange(5), mask, None, True)
    )["params"]
    sizes = [part["kernel"].size for part in params.values() if "kernel" in part]
    assert sum(sizes) == 12 * 24 * 24


@pytest.mark.parametrize("remat", [False, True])
def test_states_that_are_not_wanted_change_no_others(remat):
    """Nor the keys and values of any token, nor gradients."""
    trunk = transformer.Trunk(tiny.config(remat=remat))
    rng = np.random.default_rng(0)
    x, before = rng.normal(size=(2, 7, 16)).astype(np.float32)
    mask, positions = np.arange(7) != 2, np.arange(7) + 3
    params = tiny.random_params(trunk.init, x, positions, mask)

    def everything(start):
        def loss(params, x):
            _, context = trunk.apply(params, before, np.arange(7), mask)
            h, own = trunk.apply(params, x, positions, mask, context, start=start)
            return (h[-3:] ** 2).sum(), (h, own)

        compute = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        (_, (h, own)), gradients = tables.jit(compute)(params, x)
        return h, (h[-3:], own, gradients)

    h, wanted = everything(4)
    assert h.shape == (3, 16)
    _, expected = everything(0)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, wanted, expected)


@pytest.mark.parametrize("network", ["canvas", "order"])
def test_last_states_of_a_prompt_are_not_computed(network):
    """In the last block its tokens do not pass the MLP."""
    c, example = tiny.config(num_layers=1), tiny.example(prompt_size=32)
    if network == "order":
        made = order.make(c, tiny.VOCAB)
    else:
        made = canvas.make(c, tiny.VOCAB, prompt_sees_canvas=True)
    params = tiny.random_params(made.init, example)

    def run(params):
        if network == "order":
            return made.apply(params, example)
        policy = made.apply(params, example.prompt, example.prompt_mask)
        return policy(Canvas(example.tokens, example.length, example.anchored))

    products = [
        equation.outvars[0].aval.shape
        for equation in jax.make_jaxpr(run)(params).jaxpr.eqns
        if equation.primitive.name == "rows_dot"
    ]
    rows = len(example.tokens) + (2 if network == "canvas" else 0)
    assert products.count((rows, c.hidden_width)) == 2
    assert [shape for shape in products if shape[0] == 32 + rows] == [
        (32 + rows, 3 * c.width)
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 12, "num_heads": 8}, "width 12 is not a multiple of num_heads 8"),
        ({"width": 24, "num_heads": 8}, "even head width, got 24 / 8"),
        (
            {"mlp_ratio": 0.001},
            "mlp_ratio is 0.001; times width 128 it must be finite",
        ),
        (
            {"mlp_ratio": float("inf")},
            "mlp_ratio is inf; .* must be finite and at least 1",
        ),
        ({"mlp_ratio": float("nan")}, "mlp_ratio is nan; times width 128"),
        ({"prompt_record": -1}, "prompt_record is -1, but must be at least 0"),
        ({"dtype": "float16"}, "'float32', 'bfloat16' or 'mixed', got 'float16'"),
    ],
)
def test_config_errors(options, message):
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**options)
