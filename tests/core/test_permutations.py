import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables

from insertion_jax.core import permutations

LOGITS = np.array([0.3, -1.2, 1.0, 0.1, -0.4])
MASKS = [
    (True, True, True, True, True),
    (True, False, True, True, False),
    (False, False, True, False, False),
    (False, False, False, False, False),
]


def test_ranks_leave_one_order():
    rank = np.array([3, 0, 4, 1, 2])
    keys = jax.random.split(jax.random.key(0), 1_000)
    draw = jax.vmap(permutations.plackett_luce, in_axes=(0, None, None))
    perms = np.asarray(draw(keys, permutations.ranked_logits(rank), np.ones(5, bool)))
    assert (perms == np.argsort(rank)).all()
    log_prob = permutations.plackett_luce_log_prob(
        permutations.ranked_logits(rank), np.argsort(rank), np.ones(5, bool)
    )
    assert abs(log_prob) < 1e-6


@pytest.mark.parametrize("rank", [1, 100, 1_000])
def test_equal_ranks_come_in_random_order(rank):
    logits = permutations.ranked_logits(np.array([0, rank, rank]))
    keys = jax.random.split(jax.random.key(0), 4_000)
    draw = jax.vmap(permutations.plackett_luce, in_axes=(0, None, None))
    perms = np.asarray(draw(keys, logits, np.ones(3, bool)))
    assert (perms[:, 0] == 0).all()
    assert abs((perms[:, 1] == 1).mean() - 0.5) < 5 * np.sqrt(0.25 / len(keys))


@pytest.mark.parametrize("certainty", [0.0, 0.3, 0.9, 1.0])
def test_orders_between_uniform_and_certain(certainty):
    rank = np.random.default_rng(0).permutation(40)
    logits = permutations.ranked_logits(rank, certainty)
    chance = jax.nn.softmax(logits)[np.argsort(rank)]
    expected = (1 - certainty) ** np.arange(40)
    np.testing.assert_allclose(chance, expected / expected.sum(), rtol=1e-4, atol=1e-7)


_over_orders = tables.jit(
    jax.vmap(permutations.plackett_luce_log_prob, in_axes=(None, 0, None, None))
)


def _log_probs(logits, perms, mask, num_picks=5):
    return np.asarray(_over_orders(logits, perms, np.array(mask), num_picks))


@pytest.mark.parametrize("mask", MASKS)
def test_log_prob_normalises_over_orders(mask):
    with jax.enable_x64(True):
        log_probs = _log_probs(LOGITS, tables.orders(mask), mask)
    np.testing.assert_allclose(np.exp(log_probs).sum(), 1.0, atol=1e-12)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("num_picks", range(6))
def test_prefix_log_prob_matches_picking_and_normalises(mask, num_picks):
    perms = tables.orders(mask)
    with jax.enable_x64(True):
        log_probs = _log_probs(LOGITS, perms, mask, num_picks)
    picks = [tuple(perm[: min(num_picks, sum(mask))].tolist()) for perm in perms]
    expected = [tables.order_log_prob(LOGITS, pick, mask) for pick in picks]
    np.testing.assert_allclose(log_probs, expected, atol=1e-12)
    by_prefix = dict(zip(picks, log_probs, strict=True))
    np.testing.assert_allclose(np.exp(list(by_prefix.values())).sum(), 1.0, atol=1e-12)


def test_picks_default_to_the_whole_mask():
    mask = jnp.asarray(MASKS[1])
    perm = jnp.asarray([3, 0, 2, 1, 4])
    made = permutations.plackett_luce_log_prob(jnp.asarray(LOGITS), perm, mask)
    np.testing.assert_allclose(made, _log_probs(LOGITS, perm[None], mask, 3)[0])


def test_logits_outside_the_mask_do_not_matter():
    mask = MASKS[1]
    other = np.where(mask, LOGITS, 77.0)
    perms = tables.orders(mask)
    np.testing.assert_array_equal(
        _log_probs(LOGITS, perms, mask), _log_probs(other, perms, mask)
    )


_draw = tables.jit(jax.vmap(permutations.plackett_luce, in_axes=(0, None, None)))
_draw_uniform = tables.jit(jax.vmap(permutations.uniform, in_axes=(0, None)))


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("mask", MASKS)
def test_masked_positions_come_last_in_increasing_order(mask, scale):
    # The masked-out positions have the largest logits of all.
    logits = jnp.where(jnp.asarray(mask), scale * LOGITS, 2e4)
    keys = jax.random.split(jax.random.key(0), (2, 200))
    count = sum(mask)
    rest = [i for i, flag in enumerate(mask) if not flag]
    inside = [i for i, flag in enumerate(mask) if flag]
    for perms in (
        _draw(keys[0], logits, jnp.asarray(mask)),
        _draw_uniform(keys[1], jnp.asarray(mask)),
    ):
        assert perms.dtype == jnp.int32
        perms = np.asarray(perms)
        np.testing.assert_array_equal(np.sort(perms[:, :count]), [inside] * 200)
        np.testing.assert_array_equal(perms[:, count:], [rest] * 200)


_grads = tables.jit(
    jax.vmap(jax.value_and_grad(permutations.plackett_luce_log_prob), (0, 0, 0, 0))
)


def test_gradients_are_finite():
    signs = np.array([1.0, -1.0, 1.0, -1.0, 0.0], np.float32)
    rows = [
        (scale * signs, perm, np.array(mask), num_picks)
        for scale in (1.0, -1.0, 1e4, -1e4)
        for mask in MASKS
        for perm in tables.orders(mask)[:3]
        for num_picks in range(6)
    ]
    columns = [np.stack(column) for column in zip(*rows, strict=True)]
    values, grads = _grads(*columns)
    assert np.isfinite(values).all()
    assert np.isfinite(grads).all()
    assert not np.any(np.asarray(grads)[~columns[2]])


@pytest.mark.parametrize("mask", MASKS)
def test_gradient_is_right(mask):
    perms = tables.orders(mask)[-1:].repeat(5, axis=0)
    picks = np.arange(1, 6)
    with jax.enable_x64(True):
        _, grads = _grads(*map(np.stack, ([LOGITS] * 5, perms, [mask] * 5, picks)))

    def differences(perm, count, h=1e-5):
        at = lambda x: tables.order_log_prob(
            x, perm[: min(count, sum(mask))].tolist(), mask
        )
        return [(at(LOGITS + h * e) - at(LOGITS - h * e)) / (2 * h) for e in np.eye(5)]

    expected = list(map(differences, perms, picks))
    np.testing.assert_allclose(grads, expected, atol=1e-8)


def test_float32_is_accurate_for_long_sequences():
    rng = np.random.default_rng(0)
    logits, perm = 3 * rng.normal(size=256), rng.permutation(256)
    mask = np.ones(256, bool)
    value = _log_probs(logits.astype(np.float32), perm[None], mask, 256)[0]
    exact = tables.order_log_prob(logits, perm.tolist(), mask)
    np.testing.assert_allclose(value, exact, rtol=1e-6)


@tables.jit
@functools.partial(jax.vmap, in_axes=(0, None, None))
def _gaussian_sort(key, logits, mask):
    """Wrong on purpose: normal noise of Gumbel's variance."""
    noise = jax.random.normal(key, logits.shape) * np.pi / np.sqrt(6)
    return jnp.argsort(jnp.where(mask, -logits - noise, jnp.inf)).astype(jnp.int32)


def _p_value(sampler, logits, mask, num_draws=60_000):
    keys = jax.random.split(jax.random.key(1), num_draws)
    draws = sampler(keys, jnp.asarray(logits), jnp.asarray(mask))
    drawn, counts = np.unique(np.asarray(draws), axis=0, return_counts=True)
    counts = dict(zip(map(tuple, drawn.tolist()), counts, strict=True))
    perms = tables.orders(mask)
    probs = [
        np.exp(tables.order_log_prob(logits, perm[: sum(mask)].tolist(), mask))
        for perm in perms
    ]
    assert set(counts) <= set(map(tuple, perms.tolist()))
    return tables.p_value([counts.get(tuple(p), 0) for p in perms.tolist()], probs)


def test_frequencies_are_those_of_the_law():
    assert _p_value(_draw, LOGITS, MASKS[0]) > 1e-4
    assert _p_value(_draw, LOGITS, MASKS[1]) > 1e-4


def test_uniform_frequencies():
    sampler = lambda keys, logits, mask: _draw_uniform(keys, mask)
    assert _p_value(sampler, np.zeros(5), MASKS[0]) > 1e-4
    # Control: the uniform law is told apart from the law of LOGITS.
    assert _p_value(sampler, LOGITS, MASKS[0]) < 1e-6


def test_control_wrong_noise_is_detected():
    assert _p_value(_gaussian_sort, LOGITS, MASKS[0]) < 1e-6


@pytest.mark.parametrize("size", range(1, 6))
def test_inverse(size):
    perms = np.array(list(itertools.permutations(range(size))), np.int32)
    ranks = np.asarray(jax.vmap(permutations.inverse)(jnp.asarray(perms)))
    steps = np.tile(np.arange(size), (len(perms), 1))
    np.testing.assert_array_equal(np.take_along_axis(ranks, perms, axis=1), steps)
    np.testing.assert_array_equal(np.take_along_axis(perms, ranks, axis=1), steps)
