import flexible_tables
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables

from insertion_jax.core import noising, schedules
from insertion_jax.core.leaps import MaskedRates
from insertion_jax.methods import (
    flex_law,
    flex_loss,
    flex_masked_diffusion,
    flex_regulariser,
)

LINEAR = flex_law.kumaraswamy(1.0)


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def _noised(tokens, states, t, mask_id, fixed=None):
    fixed = np.zeros(len(tokens), bool) if fixed is None else np.array(fixed)
    return noising.noise(
        jnp.asarray(tokens),
        jnp.asarray(fixed),
        len(tokens),
        *flexible_tables.times_of(np.array(states)),
        t,
        mask_id=mask_id,
    )


# A clean, B dropped, C masked, D dropped.
STATES = [noising.CLEAN, noising.DROPPED, noising.MASKED, noising.DROPPED]


def _constant(insert, unmask=1.0):
    """K = 1/4 for every token of four."""
    return lambda canvas, time: MaskedRates(
        jnp.zeros((4, 4)), jnp.asarray(insert), unmask * jnp.ones(4)
    )


@tables.jit
def _worked_example(unmask_rate, closed):
    noised = _noised([0, 1, 2, 3], STATES, 0.5, 4)
    rates = jnp.array([2.0, 4.0, 1.0, 3.0]), jnp.full(4, unmask_rate)
    terms = flex_loss.loss_terms(
        _constant([1.0, 6.0, 5.0, 9.0, 9.0]),
        jnp.arange(4),
        noised,
        0.5,
        *rates,
        LINEAR,
        closed=closed,
    )
    log_probs = LINEAR.state_log_probs(0.5, *rates)
    return terms, noising.log_prob_of_states(log_probs, noised)


OPEN = np.zeros(5, bool)


def test_worked_example():
    terms, log_q = _worked_example(1.0, OPEN)
    np.testing.assert_allclose(terms.insert, 2.0 + 0.75627914 + 0.93504626, atol=1e-6)
    np.testing.assert_allclose(terms.token, 2.77258872, atol=1e-6)
    assert terms.unmask == 0.0
    assert terms.num_masks == 1
    np.testing.assert_allclose(log_q, -7.29798473, atol=1e-6)


def test_padding_does_not_matter():
    @tables.jit
    def parts(garbage):
        tokens = jnp.array([0, 1, 2, 3, garbage, garbage])
        times = flexible_tables.times_of(np.array([*STATES, noising.DROPPED, 1]))
        fixed = jnp.zeros(6, bool)
        noised = noising.noise(tokens, fixed, 4, *times, 0.5, mask_id=4)
        rates = jnp.array([2.0, 4.0, 1.0, 3.0, 50.0, 70.0]), jnp.ones(6)
        model = MaskedRates(
            jnp.zeros((6, 4)),
            jnp.array([1.0, 6.0, 5.0, 9.0, 9.0, 9.0, 9.0]),
            jnp.ones(6),
        )
        return flex_loss.loss_terms(
            lambda canvas, time: model, tokens, noised, 0.5, *rates, LINEAR
        )

    for garbage in (0, -7, 1_000_000):
        np.testing.assert_allclose(parts(garbage), _worked_example(1.0, OPEN)[0])


def test_normalisations():
    terms, _ = _worked_example(1.0, OPEN)
    insert, token = 3.69132537, 2.77258872
    values = {
        "elbo": insert + token,
        "paper": 0.61522090 + token,
        "flexmdm": (insert + token) / 6,
    }
    for name, value in values.items():
        made = flex_loss.normalised(terms, name, 6)
        np.testing.assert_allclose(made, value, atol=1e-6)
    with pytest.raises(ValueError, match="one of .* got 'sum'"):
        flex_loss.normalised(terms, "sum", 6)


def test_the_paper_takes_a_mean_over_masks():
    terms = flex_loss.LossTerms(*map(jnp.asarray, (6.0, 3.0, 4.0, 3)))
    assert flex_loss.normalised(terms, "paper", 8) == 9.0 / 3 + 4.0 / 8
    none = flex_loss.LossTerms(*map(jnp.asarray, (0.0, 0.0, 4.0, 0)))
    assert flex_loss.normalised(none, "paper", 8) == 0.5


def test_rates_of_unmasking():
    # D(2, 1) = .38629436, times the base hazard 2.
    terms, _ = _worked_example(2.0, OPEN)
    np.testing.assert_allclose(terms.unmask, 2 * 0.38629436, atol=1e-6)
    np.testing.assert_allclose(terms.token, 2 * 2.77258872, atol=1e-6)


def test_closed_gaps_do_not_count():
    # Nothing is anchored, so there is one gap; closing it closes all.
    assert _worked_example(1.0, np.arange(5) == 0)[0].insert == 0.0
    assert _worked_example(1.0, np.arange(5) == 1)[0].insert > 1.0


def test_the_linear_schedule_is_the_case_of_rates_one():
    fixed = flex_law.scheduled(schedules.linear(), schedules.linear())

    @tables.jit
    def with_laws():
        return [
            flex_loss.loss_terms(
                _constant([1.0, 6.0, 5.0, 9.0, 9.0]),
                jnp.arange(4),
                _noised([0, 1, 2, 3], STATES, 0.3, 4),
                0.3,
                jnp.ones(4),
                jnp.ones(4),
                law,
            )
            for law in (fixed, LINEAR)
        ]

    made, learned = with_laws()
    np.testing.assert_allclose(made, learned, rtol=1e-12)
    # Its divergence is that of the numbers of absent tokens.
    gaps = np.array([0.0, 1.0, 1.0])
    model = np.array([1.0, 6.0, 5.0])
    logs = np.where(gaps > 0, gaps * np.log(np.maximum(gaps, 1) / model), 0.0)
    expected = np.sum(model - gaps + logs) / 0.7
    np.testing.assert_allclose(made.insert, expected, rtol=1e-9)


def test_penalties():
    penalties = tables.jit(flex_regulariser.penalties)

    def parts(rates, free):
        return penalties(jax.random.key(0), 1.0, np.array(rates), np.array(free))

    everywhere = [True, True, True]
    np.testing.assert_allclose(parts([1.0, 1.0, 1.0], everywhere), 0.0, atol=1e-12)
    # The grid's sum is, for equal rates b, about 100 (1/3 - 2/(b+2) + 1/(2b+1)).
    some = parts([3.0, 3.0, 50.0], [True, True, False])
    np.testing.assert_allclose(some.mean, 7.62, atol=0.05)
    np.testing.assert_allclose(some.boundary, 2 * 0.00038813, atol=1e-7)
    np.testing.assert_allclose(some.kl, 0.43194562, atol=1e-7)
    assert parts([3.0, 3.0, 50.0], [False, False, False]) == (0.0, 0.0, 0.0)


# Two tokens, "BA", every pair of the nine states.
TOKENS = np.array([1, 0])
TIME = 0.4
CURVED = flex_law.kumaraswamy(2.5)
PARAMS = {
    "insert": np.array([0.4, -0.3]),
    "unmask": np.array([0.2, 0.5]),
    "scale": np.float64(0.3),
}


def _denoiser(params):
    plain = flexible_tables.hashed(2, 2)

    def denoise(canvas, time):
        rates = plain(canvas, time)
        return MaskedRates(*(x * jnp.exp(params["scale"]) for x in rates))

    return denoise


def _value(params, noised):
    terms = flex_loss.loss_terms(
        _denoiser(params), TOKENS, noised, TIME, *_rates(params), CURVED
    )
    return flex_loss.normalised(terms, "paper", 5)


def _rates(params):
    return jnp.exp(params["insert"]), jnp.exp(params["unmask"])


def _expected_surrogate_gradient(learned):
    states = flexible_tables.all_states(2)
    first, second = np.divmod(np.arange(81), 9)
    pairs = states[np.stack([first, second], axis=1)]  # [81, 2, 2]

    def one(params, pair):
        rates = _rates(params)
        surrogate, _ = flex_masked_diffusion.surrogate_from_states(
            _denoiser(params),
            jax.tree.map(lambda b: b[None], rates),
            TOKENS,
            2,
            jnp.array([TIME]),
            jnp.ones(1),
            jax.tree.map(lambda x: x[None], flexible_tables.times_of(pair)),
            law=CURVED,
            mask_id=2,
            normalisation="paper",
            padded_length=5,
            learned=learned,
        )
        table = jnp.stack(CURVED.state_log_probs(TIME, *rates))
        log_prob = jnp.sum(jnp.take_along_axis(table, pair, axis=0))
        return jax.lax.stop_gradient(jnp.exp(log_prob)) * surrogate

    total = lambda params: jax.vmap(one, (None, 0))(params, jnp.asarray(pairs)).sum()
    return tables.jit(jax.grad(total))(PARAMS)


def _exact_gradient():
    def expected(params):
        return flexible_tables.expected_at(
            lambda noised: _value(params, noised),
            TIME,
            _rates(params),
            CURVED,
            TOKENS,
            2,
        )

    return tables.jit(jax.grad(expected))(PARAMS)


@pytest.fixture(scope="module")
def exact():
    with jax.enable_x64(True):
        return _exact_gradient()


def test_gradient_is_unbiased(exact):
    made = _expected_surrogate_gradient(True)
    for name, gradient in exact.items():
        np.testing.assert_allclose(made[name], gradient, rtol=1e-9, atol=1e-12)
        assert np.abs(gradient).min() > 1e-4


def test_control_without_the_score_function_term_it_is_biased(exact):
    made = _expected_surrogate_gradient(False)
    np.testing.assert_allclose(made["scale"], exact["scale"], rtol=1e-9)
    for name in ("insert", "unmask"):
        assert np.abs(made[name] - exact[name]).max() > 0.01
