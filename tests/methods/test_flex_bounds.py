"""Bounds of data small enough to know all about."""

import flexible_tables
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tables

from insertion_jax.methods import flex_law, flex_masked_diffusion

LINEAR = flex_law.kumaraswamy(1.0)
AB = np.array([flexible_tables.A, flexible_tables.B], np.int32)
MASK = flexible_tables.MASK


def _estimates(denoise, length, num_times, num_keys=64):
    """Bounds of one symbol, or of nothing, from as many keys."""

    def one(key):
        return flex_masked_diffusion.elbo(
            key,
            denoise,
            lambda t: (jnp.ones(1), jnp.ones(1)),
            jnp.zeros(1, int),
            length,
            law=LINEAR,
            mask_id=1,
            num_times=num_times,
        )

    return jax.vmap(one)(jax.random.split(jax.random.key(length), num_keys))


@tables.jit
def _bounds(q, model_q):
    """The bound for "A" with probability q: exactly, and as `elbo` estimates it."""
    denoise = flexible_tables.one_symbol(model_q)
    exact = flexible_tables.exact_bound(
        denoise, (jnp.ones(1), jnp.ones(1)), LINEAR, jnp.zeros(1, int), 1
    )
    return exact, _estimates(denoise, 1, 64), _estimates(denoise, 0, 64)


def test_weighted_times_integrate():
    draw = jax.jit(
        lambda keys: [
            flex_masked_diffusion.draw_times(key, 2000, exponent, 1e-4)
            for key, exponent in zip(keys, (1.0, 2.0, 3.0), strict=True)
        ]
    )
    for times, weights in draw(jax.random.split(jax.random.key(0), 3)):
        assert times.min() >= 1e-4 - 1e-6
        assert times.max() <= 1 - 1e-4 + 1e-6
        t = np.asarray(times, np.float64)
        np.testing.assert_allclose(np.mean(weights * np.exp(t)), np.e - 1, rtol=1e-3)
        steep = np.mean(weights * (1 - t) ** -0.5)
        np.testing.assert_allclose(steep, 2 * (1 - 0.01), rtol=0.01)
    # Control: without the weights only the uniform law integrates.
    assert abs(np.mean(np.exp(times)) - (np.e - 1)) > 0.1


def test_the_bound_of_one_symbol_is_tight():
    q = 0.3
    with jax.enable_x64(True):
        exact, some, none = jax.tree.map(np.asarray, _bounds(q, q))
    np.testing.assert_allclose(exact, -np.log(q), atol=1e-5)
    # No randomness but that of the times, which are evenly spread.
    np.testing.assert_allclose(none, np.log(1 - q), atol=0.01)
    np.testing.assert_allclose(none.mean(), np.log(1 - q), atol=0.001)
    error = some.std() / np.sqrt(len(some))
    assert error < 0.05
    assert abs(some.mean() - np.log(q)) < 4 * error


def test_control_another_denoiser_has_a_worse_bound():
    with jax.enable_x64(True):
        exact, some, none = jax.tree.map(np.asarray, _bounds(0.3, 0.2))
    assert exact > -np.log(0.3) + 0.05
    np.testing.assert_allclose(exact, -np.log(0.2), atol=1e-5)
    assert none.mean() > np.log(1 - 0.3) + 0.05
    error = some.std() / np.sqrt(len(some))
    assert abs(some.mean() - np.log(0.3)) > 4 * error


@tables.jit
def _ab_bound(insert_rates, scale=1.0):
    """The exact bound of "AB" under the best denoiser, or one that is off."""
    best = flexible_tables.best_for_ab(insert_rates)

    def denoise(canvas, time):
        rates = best(canvas, time)
        return rates._replace(insert=scale * rates.insert)

    return flexible_tables.exact_bound(
        denoise, (insert_rates, jnp.ones(2)), LINEAR, jnp.asarray(AB), MASK
    )


def test_an_order_lowers_the_bound_of_two_symbols():
    # From a mask alone one cannot tell which of the two it hides.
    with jax.enable_x64(True):
        equal, twice, ten, hundred, mirrored = (
            float(_ab_bound(np.array(rates)))
            for rates in ([1, 1.0], [2, 1.0], [10, 1.0], [100, 1.0], [1, 10.0])
        )
        off = min(float(_ab_bound(np.ones(2), scale)) for scale in (0.9, 1.1))
    np.testing.assert_allclose(equal, np.log(2), atol=1e-5)
    assert np.log(2) > twice > ten > hundred > 0
    assert ten < 0.5
    # It is the best: others have worse bounds.
    assert off > equal + 1e-3
    np.testing.assert_allclose(mirrored, ten, rtol=0.05)


def test_learned_rates_go_below_ln_2():
    # Which no denoiser does for fixed ones. The regulariser is off.
    optimizer = optax.adam(optax.cosine_decay_schedule(0.1, 1000))

    def rates_of(params):
        # At least 1: else events hide in the last instant, which no bound sees.
        return 1 + jnp.exp(params["log_rates"]), jnp.ones(2)

    def loss(params, key):
        def one(key):
            return flex_masked_diffusion.loss_surrogate(
                key,
                params["table"],
                lambda t: rates_of(params),
                jnp.asarray(AB),
                2,
                law=LINEAR,
                mask_id=MASK,
            )[0]

        return jnp.mean(jax.vmap(one)(jax.random.split(key, 32)))

    def step(state, number):
        params, moments = state
        key = jax.random.fold_in(jax.random.key(0), number)
        updates, moments = optimizer.update(jax.grad(loss)(params, key), moments)
        return (optax.apply_updates(params, updates), moments), None

    @tables.jit
    def run():
        params = {
            "table": flexible_tables.Table.zeros(),
            "log_rates": jnp.array([0.2, -0.2]),
        }
        start = params, optimizer.init(params)
        (trained, _), _ = jax.lax.scan(step, start, jnp.arange(1000))
        rates = rates_of(trained)
        args = rates, LINEAR, jnp.asarray(AB), MASK
        best = flexible_tables.best_for_ab(rates[0])
        return (
            flexible_tables.exact_bound(trained["table"], *args),
            flexible_tables.exact_bound(best, *args),
            rates[0],
        )

    bound, best, rates = run()
    assert best < bound < np.log(2) - 0.3
    assert rates[0] / rates[1] > 5
