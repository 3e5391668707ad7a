import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
import tiny

from insertion_jax.networks import flexible, rate_heads
from insertion_jax.networks.rate_heads import RateConfig
from insertion_jax.types import NUM_SPECIALS, Canvas

MASK = tiny.VOCAB
MODES = [False, True]


def _masked(example):
    """The example's canvas with a mask in it."""
    tokens = example.tokens.copy()
    tokens[1] = MASK
    return Canvas(tokens, example.length, example.anchored)


class _Denoiser:
    """A denoiser with parameters and a jitted pass."""

    def __init__(self, params=None, config=None, **options):
        config = tiny.everything() if config is None else config
        network = flexible.make(
            config, tiny.VOCAB, RateConfig("exp"), learns_unmask=True, **options
        )
        if params is None:
            params = tiny.random_params(network.init, tiny.example())
        self.params = params

        def compute(params, example, canvas, time, dropout_key=None):
            args = example.prompt, example.prompt_mask, dropout_key
            return network.apply(params, *args)(canvas, time)

        self.compute = compute
        self.run = tables.jit(compute)

    def __call__(self, example, time=0.4, canvas=None, *keys):
        canvas = _masked(example) if canvas is None else canvas
        params = tiny.resized(self.params, example)
        return jax.tree.map(np.asarray, self.run(params, example, canvas, time, *keys))


@pytest.fixture(scope="module")
def denoisers():
    """With all options, by whether the prompt sees the canvas or is told records."""
    return {
        mode: _Denoiser(config=tiny.everything(not mode), prompt_sees_canvas=mode)
        for mode in MODES
    }


@pytest.fixture(scope="module")
def events():
    """`(apply, params)` of the event rates, which see the time."""
    network = flexible.make_order(
        tiny.everything(),
        tiny.VOCAB,
        RateConfig("softplus", 1.01),
        learns_unmask=True,
        sees_time=True,
    )
    params = tiny.random_params(network.init, tiny.example())
    run = tables.jit(network.apply)

    def apply(example, time=0.4):
        rates = run(tiny.resized(params, example), example, time)
        return np.stack(rates)

    return apply


def _outputs(rates, length=4):
    """All that is read, of a canvas with this many tokens."""
    return np.concatenate(
        [
            rates.token[:length, NUM_SPECIALS:].ravel(),
            rates.insert[: length + 1],
            rates.unmask[:length],
        ]
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("garbage", [0, 1_000_000, -7, MASK])
def test_padding_does_not_matter(denoisers, mode, garbage):
    plain = denoisers[mode](tiny.example())
    padded = denoisers[mode](tiny.example(9, 11, garbage))
    np.testing.assert_allclose(_outputs(plain), _outputs(padded), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_every_input_matters(denoisers, mode):
    run, example = denoisers[mode], tiny.example()
    canvas, plain = _masked(example), _outputs(run(example))

    def change(time=0.4, **fields):
        canvas_fields = {k: fields.pop(k) for k in Canvas._fields if k in fields}
        other = run(example._replace(**fields), time, canvas._replace(**canvas_fields))
        return np.abs(_outputs(other) - plain).min()

    assert change() == 0.0
    assert change(time=0.41) > 1e-7
    assert change(prompt=np.array([5, 4, 8, 0], np.int32)) > 1e-7
    assert change(prompt_mask=np.array([True, True, False, False])) > 1e-7
    assert change(tokens=np.array([4, 5, 7, 3, 0, 0], np.int32)) > 1e-7
    assert change(tokens=np.array([MASK, MASK, 7, 3, 0, 0], np.int32)) > 1e-7
    assert change(anchored=np.zeros(6, bool)) > 1e-7
    assert change(length=np.int32(5)) > 1e-7


def test_the_prompt_is_read_once_for_all_times():
    # As its states hold no time; where it sees the canvas they do, at once.
    network = flexible.make(tiny.config(), tiny.VOCAB, RateConfig())
    params = tiny.random_params(network.init, tiny.example())
    example = tiny.example()
    jaxpr = jax.make_jaxpr(
        lambda prompt: jax.vmap(
            lambda time: network.apply(params, prompt, example.prompt_mask)(
                _masked(example), time
            )
        )(jnp.arange(3.0))
    )(example.prompt)
    shapes = {
        variable.aval.shape
        for equation in jaxpr.jaxpr.eqns
        for variable in equation.outvars
    }
    assert (3, 8, 16) in shapes  # rows of the canvas, by time
    assert (4, 16) in shapes  # rows of the prompt
    assert (3, 4, 16) not in shapes
    assert (3, 12, 16) not in shapes


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", [0, 6])
def test_empty_and_full_canvases(denoisers, mode, length):
    example = tiny.example()._replace(length=np.int32(length))
    for time in (0.0, 1.0):
        rates = denoisers[mode](example, time)
        assert rates.token.shape == (6, tiny.VOCAB)
        assert rates.insert.shape == (7,)
        assert rates.unmask.shape == (6,)
        assert all(np.isfinite(x).all() for x in rates)
        assert (rates.insert > 0).all()


def test_specials_are_never_emitted(denoisers):
    rates = denoisers[True](tiny.example())
    probs = jax.nn.softmax(rates.token)
    assert (probs[:, :NUM_SPECIALS] == 0).all()
    assert (probs[:, NUM_SPECIALS:] > 0).all()


def test_bfloat16_is_close_and_gives_float32(denoisers):
    low = _Denoiser(
        denoisers[True].params,
        tiny.everything(dtype="bfloat16"),
        prompt_sees_canvas=True,
    )
    rates, precise = low(tiny.example()), denoisers[True](tiny.example())
    assert all(x.dtype == np.float32 for x in rates)
    np.testing.assert_allclose(_outputs(rates), _outputs(precise), rtol=0.2, atol=0.2)


def test_dropout_is_a_function_of_its_key():
    run = _Denoiser(config=tiny.config(num_layers=1, dropout=0.3))
    outputs = lambda *seeds: _outputs(
        run(tiny.example(), 0.4, None, *map(jax.random.key, seeds))
    )
    np.testing.assert_array_equal(outputs(1), outputs(1))
    assert np.abs(outputs(1) - outputs()).max() > 1e-3
    assert np.abs(outputs(1) - outputs(2)).max() > 1e-3


@pytest.mark.parametrize("garbage", [0, 1_000_000, -7, MASK])
def test_event_rates_do_not_see_padding(events, garbage):
    rates, padded = events(tiny.example()), events(tiny.example(9, 11, garbage))
    np.testing.assert_allclose(rates[:, :4], padded[:, :4], rtol=1e-3)
    assert rates.shape == (2, 6)
    assert (rates >= 1.01).all()
    # They differ from token to token, and from insertion to unmasking.
    assert np.ptp(rates[0, :4]) > 1e-3
    assert np.abs(rates[0] - rates[1]).min() > 1e-4


def test_event_rates_see_every_input(events):
    example = tiny.example()
    plain = events(example)

    def change(time=0.4, **fields):
        return np.abs(events(example._replace(**fields), time) - plain)[:, :4].min()

    assert change() == 0.0
    assert change(time=0.6) > 1e-7
    assert change(prompt=np.array([5, 4, 8, 0], np.int32)) > 1e-7
    assert change(tokens=np.array([4, 5, 7, 3, 0, 0], np.int32)) > 1e-7
    assert change(anchored=np.zeros(6, bool)) > 1e-7
    assert change(length=np.int32(3)) > 1e-7


def test_by_default_event_rates_do_not_see_the_time():
    network = flexible.make_order(tiny.config(), tiny.VOCAB, RateConfig())
    params = jax.eval_shape(network.init, jax.random.key(0), tiny.example())
    assert "time" not in params
    assert "order_unmask" not in params
    params = tiny.random_params(network.init, tiny.example())
    insert, unmask = tables.jit(network.apply)(params, tiny.example(), 0.3)
    assert (unmask == 1.0).all()
    assert np.ptp(insert[:4]) > 1e-3


def test_one_trunk_for_both():
    denoiser, events_, _ = flexible.make_shared(
        tiny.config(), tiny.VOCAB, RateConfig(), RateConfig(low=1.0)
    )
    example = tiny.example()
    params = tiny.random_params(denoiser.init, example)
    heads = tiny.random_params(events_.init, example)
    assert set(params) >= {"trunk", "content", "insert", "time"}
    assert set(heads) == {"order_insert"}

    def both(params):
        rates = denoiser.apply(params, example.prompt, example.prompt_mask)
        insert, _ = events_.apply(params, example, 0.3)
        return rates(_masked(example), 0.3).insert.sum(), insert.sum()

    jacobian = tables.jit(jax.jacrev(both))(params | heads)
    sizes = [
        {name: max(map(np.ptp, jax.tree.leaves(group))) for name, group in part.items()}
        for part in jacobian
    ]
    assert all(size["trunk"] > 0 for size in sizes)
    assert sizes[0]["order_insert"] == sizes[1]["insert"] == 0
    # The events do not see the time, although the denoiser does.
    assert sizes[0]["time"] > 0 == sizes[1]["time"]


@pytest.mark.parametrize("prompt_sees_canvas", [False, True])
def test_both_at_once_are_what_each_is(prompt_sees_canvas):
    denoiser, events, both = flexible.make_shared(
        tiny.config(),
        tiny.VOCAB,
        RateConfig(),
        RateConfig(low=1.0),
        learns_unmask=True,
        order_sees_time=True,
        prompt_sees_canvas=prompt_sees_canvas,
    )
    example = tiny.example()
    params = tiny.random_params(denoiser.init, example)
    heads = tiny.random_params(events.init, example)
    canvas = _masked(example)

    def values(params, at_once):
        params, heads = params
        if at_once:
            denoise, event_rates = both(params, heads, example)
        else:
            denoise = denoiser.apply(params, example.prompt, example.prompt_mask)
            event_rates = lambda t: events.apply(params | heads, example, t)
        return denoise(canvas, 0.3), event_rates(0.6)

    def total(params, at_once):
        return sum(map(jnp.sum, jax.tree.leaves(values(params, at_once))))

    run = tables.jit(values, static_argnums=1)
    grads = tables.jit(jax.grad(total), static_argnums=1)
    for call, tolerance in ((run, 1e-5), (grads, 1e-4)):
        jax.tree.map(
            lambda x, y, tolerance=tolerance: np.testing.assert_allclose(
                x, y, rtol=tolerance, atol=tolerance
            ),
            call((params, heads), True),
            call((params, heads), False),
        )


@pytest.mark.parametrize("prompt_sees_canvas", [False, True])
def test_dropout_of_both_at_once(prompt_sees_canvas):
    denoiser, events, both = flexible.make_shared(
        tiny.config(dropout=0.5),
        tiny.VOCAB,
        RateConfig(),
        RateConfig(low=1.0),
        prompt_sees_canvas=prompt_sees_canvas,
    )
    example = tiny.example()
    params = tiny.random_params(denoiser.init, example)
    heads = tiny.random_params(events.init, example)

    @tables.jit
    def run(keys):
        denoise, event_rates = both(params, heads, example, keys)
        # The heads do not see the time: what differs could only be dropout.
        insert = [event_rates(time)[0][:4] for time in (0.2, 0.7)]
        return denoise(_masked(example), 0.3).token[1, NUM_SPECIALS:], *insert

    def keys(*seeds):
        return tuple(map(jax.random.key, seeds))

    first = run(keys(0, 1))
    np.testing.assert_array_equal(first[1], first[2])
    for seeds, changes in (
        ((2, 1), (True, not prompt_sees_canvas)),
        ((0, 2), (False, True)),
    ):
        other = run(keys(*seeds))
        for changed, x, y in zip(changes, first, other, strict=False):
            assert np.any(x != y) == changed, (seeds, changed)
    plain = run(None)
    alone, _ = events.apply(params | heads, example, 0)
    np.testing.assert_allclose(plain[1], alone[:4], rtol=1e-5)
    assert all(np.any(x != y) for x, y in zip(first, plain, strict=True))


def test_at_once_a_prompt_is_encoded_once():
    denoiser, events, both = flexible.make_shared(
        tiny.config(), tiny.VOCAB, RateConfig(), RateConfig(low=1.0)
    )
    example = tiny.example()
    params = tiny.random_params(denoiser.init, example)
    heads = tiny.random_params(events.init, example)

    def apart(params, heads):
        denoise = denoiser.apply(params, example.prompt, example.prompt_mask)
        return denoise(_masked(example), 0.3), events.apply(params | heads, example, 0)

    def at_once(params, heads):
        denoise, event_rates = both(params, heads, example)
        return denoise(_masked(example), 0.3), event_rates(0)

    def encoding(params, _):
        denoiser.apply(params, example.prompt, example.prompt_mask)
        return 0

    def products(function):
        return str(jax.make_jaxpr(function)(params, heads)).count("rows_dot[")

    assert products(encoding) > 0
    assert products(at_once) == products(apart) - products(encoding)


def test_a_fresh_network_is_asymmetric_and_moderate():
    # Equal rates are a stationary point; and no rate starts far off.
    network = flexible.make_order(
        tiny.config(num_layers=1), tiny.VOCAB, RateConfig("softplus", 1.01)
    )

    @tables.jit
    def run(key):
        return network.apply(network.init(key, tiny.example()), tiny.example(), 0.0)[0]

    rates = np.asarray(run(jax.random.key(0)))[:4]
    assert np.ptp(rates) > 1e-3
    assert (rates > 1.5).all()
    assert (rates < 6.0).all()


@pytest.mark.parametrize("function", rate_heads.FUNCTIONS)
def test_rate_functions(function):
    head = rate_heads.RateHead(RateConfig(function, 0.5, 20.0))
    hidden = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    init = lambda key: head.init(key, hidden)
    params = tiny.random_params(init)

    @tables.jit
    def run(params, scale):
        rates = head.apply(params, scale * hidden)
        return rates, jax.grad(lambda x: head.apply(params, x).sum())(scale * hidden)

    for scale in (1.0, 1e3, 1e6):
        rates, grads = run(params, scale)
        assert np.isfinite(rates).all()
        assert np.isfinite(grads).all()
        assert (rates >= 0.5).all()
        if function in ("sigmoid", "discretised"):
            assert (rates <= 20.0 + 1e-4).all()
    assert np.ptp(rates) > 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"function": "relu"}, "function is 'relu'; allowed are softplus, sigmoid"),
        ({"low": -1.0}, "from -1.0 to 100.0"),
        ({"low": 3.0, "high": 2.0}, "from 3.0 to 2.0"),
    ],
)
def test_rate_config_errors(options, message):
    with pytest.raises(ValueError, match=message):
        RateConfig(**options)
