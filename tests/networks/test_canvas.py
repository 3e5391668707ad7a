import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
import tiny

from insertion_jax.networks import canvas as canvas_network
from insertion_jax.networks.transformer import TransformerConfig
from insertion_jax.types import EOS_ID, NUM_SPECIALS, Batch, Canvas

MODES = [False, True]


def _canvas(example):
    return Canvas(example.tokens, example.length, example.anchored)


class _Model:
    """A network with parameters and a jitted pass."""

    def __init__(self, params=None, **options):
        config = options.pop("config", None) or tiny.config()
        network = canvas_network.make(config, tiny.VOCAB, **options)
        if params is None:
            params = tiny.random_params(network.init, tiny.example())
        self.params = params

        def compute(params, example, canvas, dropout_key=None, key=None):
            policy = network.apply(
                params, example.prompt, example.prompt_mask, dropout_key
            )
            return policy(canvas, key)

        self.compute = compute
        self.run = tables.jit(compute)

    def __call__(self, example, canvas=None, *keys):
        canvas = _canvas(example) if canvas is None else canvas
        params = tiny.resized(self.params, example)
        return jax.tree.map(np.asarray, self.run(params, example, canvas, *keys))


@pytest.fixture(scope="module")
def models():
    """With all options, by whether the prompt sees the canvas or is told records."""
    return {
        mode: _Model(config=tiny.everything(not mode), prompt_sees_canvas=mode)
        for mode in MODES
    }


def _assert_same(logits, other, length=4, atol=1e-5):
    here = slice(length + 1)
    np.testing.assert_allclose(logits.slot[here], other.slot[here], atol=atol)
    np.testing.assert_allclose(logits.stop, other.stop, atol=atol)
    np.testing.assert_allclose(
        logits.token[here, NUM_SPECIALS:], other.token[here, NUM_SPECIALS:], atol=atol
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("garbage", [0, 6, 1_000_000, -7])
def test_padding_does_not_matter(models, mode, garbage):
    model = models[mode]
    _assert_same(model(tiny.example()), model(tiny.example(9, 11, garbage)))


@pytest.mark.parametrize("mode", MODES)
def test_every_input_matters(models, mode):
    model, example = models[mode], tiny.example()
    plain = model(example)

    def change(**fields):
        other = model(example._replace(**fields))
        return np.abs(other.slot[:5] - plain.slot[:5]).min()

    assert change(prompt=np.array([5, 4, 8, 0], np.int32)) > 1e-6
    assert change(prompt=np.array([3, 5, 8, 0], np.int32)) > 1e-6  # its order
    assert change(prompt_mask=np.array([True, True, False, False])) > 1e-6
    assert change(tokens=np.array([4, 5, 7, 3, 0, 0], np.int32)) > 1e-6
    assert change(tokens=np.array([4, 7, 4, 3, 0, 0], np.int32)) > 1e-6
    assert change(anchored=np.zeros(6, bool)) > 1e-6
    assert change(length=np.int32(5)) > 1e-6


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", [0, 6])
def test_empty_and_full_canvases(models, mode, length):
    example = tiny.example()._replace(length=np.int32(length))
    logits = models[mode](example)
    assert logits.slot.shape == (7,)
    assert logits.token.shape == (7, tiny.VOCAB)
    assert all(np.isfinite(x).all() for x in logits)
    longer = tiny.example(9, 11)._replace(length=np.int32(length))
    _assert_same(logits, models[mode](longer), length)


def test_without_flags_nothing_is_anchored(models):
    example = tiny.example()
    bare = Canvas(example.tokens, example.length)
    flags = bare._replace(anchored=np.zeros(6, bool))
    _assert_same(models[False](example, bare), models[False](example, flags))


@pytest.mark.parametrize("mode", MODES)
def test_padding_has_no_gradient(models, mode):
    model, length = models[mode], 4

    def loss(params, example):
        logits = model.compute(params, example, _canvas(example))
        return logits.slot[: length + 1].sum() + logits.stop + logits.token[0, 4]

    example = tiny.example(9, 11, 6)
    grads = tables.jit(jax.grad(loss))(tiny.resized(model.params, example), example)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(grads))
    embedding = np.asarray(grads["embed"]["token"]["embedding"])
    assert not embedding[6].any()  # stands in padding alone
    assert embedding[[3, 4, 5, 7, 8]].any(axis=1).all()
    position = np.asarray(grads["prompt_segment"]["position"])
    assert position[:3].any(axis=1).all()
    assert not position[3:].any()


@pytest.mark.parametrize("emits_eos", [False, True])
def test_specials_have_no_probability(emits_eos):
    config = tiny.config(num_layers=1)
    logits = _Model(config=config, emits_eos=emits_eos)(tiny.example())
    probs = np.asarray(jax.nn.softmax(logits.token))
    specials = set(np.flatnonzero(~probs.any(axis=0)).tolist())
    assert specials == set(range(NUM_SPECIALS)) - ({EOS_ID} if emits_eos else set())
    np.testing.assert_allclose(probs.sum(axis=1), 1.0, rtol=1e-6)


def test_modes_agree_for_one_layer_only():
    # What a second layer reads from the prompt depends on who saw the canvas.
    example = tiny.example()

    def both(num_layers):
        config = tiny.config(num_layers=num_layers)
        apart = _Model(config=config)
        together = _Model(apart.params, config=config, prompt_sees_canvas=True)
        return apart(example), together(example)

    _assert_same(*both(1))
    apart, together = both(2)
    assert not np.allclose(apart.slot, together.slot, atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_no_prompt(models, mode):
    example = tiny.example()._replace(
        prompt=np.zeros(0, np.int32), prompt_mask=np.zeros(0, bool)
    )
    masked = tiny.example()._replace(prompt_mask=np.zeros(4, bool))
    _assert_same(models[mode](example), models[mode](masked))


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed"])
@pytest.mark.parametrize("mode", MODES)
def test_lower_precision_is_close_and_gives_float32(models, mode, dtype):
    model = models[mode]
    low = _Model(
        model.params,
        config=tiny.everything(not mode, dtype=dtype),
        prompt_sees_canvas=mode,
    )
    assert all(x.dtype == np.float32 for x in jax.tree.leaves(low.params))
    logits = low(tiny.example())
    assert all(x.dtype == np.float32 for x in logits)
    _assert_same(logits, model(tiny.example()), atol=0.1)
    assert (logits.token != model(tiny.example()).token).any()


def test_remat_changes_nothing():
    example, key = tiny.example(), jax.random.key(1)
    values = []
    params = None
    for remat in (False, True):
        model = _Model(
            params, config=tiny.config(num_layers=1, remat=remat, dropout=0.3)
        )
        params = model.params
        loss = lambda params, run=model.compute: jnp.sum(
            run(params, example, _canvas(example), jax.random.clone(key)).slot
        )
        values.append(tables.jit(jax.value_and_grad(loss))(params))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *values
    )


def test_dropout_is_a_function_of_its_keys():
    model = _Model(config=tiny.config(dropout=0.3))
    example = tiny.example()

    def slots(*numbers):
        return model(example, None, *map(jax.random.key, numbers)).slot

    np.testing.assert_array_equal(slots(), slots())
    np.testing.assert_array_equal(slots(1), slots(1))
    np.testing.assert_array_equal(slots(1, 2), slots(1, 2))
    for other in (slots(1), slots(2), slots(1, 2), slots(1, 3), slots(2, 2)):
        assert np.abs(other - slots()).max() > 1e-3
    assert np.abs(slots(1) - slots(2)).max() > 1e-3  # dropout key
    assert np.abs(slots(1, 2) - slots(1, 3)).max() > 1e-3  # key of the canvas
    assert np.abs(slots(1, 2) - slots(2, 2)).max() > 1e-3  # prompt's dropout


def test_canvas_key_without_dropout_key_is_without_effect(models):
    example = tiny.example()
    model = models[False]
    made = model(example, None, None, jax.random.key(2))
    _assert_same(made, model(example), atol=0.0)


def test_init_gives_finite_logits():
    network = canvas_network.make(tiny.config(num_layers=1), tiny.VOCAB)
    example = tiny.example()

    @tables.jit
    def run(key):
        params = network.init(key, example)
        policy = network.apply(params, example.prompt, example.prompt_mask)
        return policy(_canvas(example))

    slot, stop, _ = run(jax.random.key(0))
    assert 0.0 < np.abs(slot).max() < 10.0
    assert 0.0 < np.abs(stop) < 10.0


def test_paper_size():
    size, prompt_size, vocab = 22, 112, 59
    example = Batch(
        prompt=jax.ShapeDtypeStruct((prompt_size,), jnp.int32),
        prompt_mask=jax.ShapeDtypeStruct((prompt_size,), jnp.bool_),
        tokens=jax.ShapeDtypeStruct((size,), jnp.int32),
        length=jax.ShapeDtypeStruct((), jnp.int32),
        anchored=jax.ShapeDtypeStruct((size,), jnp.bool_),
        closed=jax.ShapeDtypeStruct((size + 1,), jnp.bool_),
        index=jax.ShapeDtypeStruct((), jnp.int32),
    )
    network = canvas_network.make(TransformerConfig(), vocab)
    params = jax.eval_shape(network.init, jax.random.key(0), example)
    assert sum(x.size for x in jax.tree.leaves(params)) == 3_197_440
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(params))
