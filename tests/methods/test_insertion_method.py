import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
import tiny

from insertion_jax.methods import insertion_method
from insertion_jax.methods.insertion_method import InsertionConfig
from insertion_jax.networks import canvas, order
from insertion_jax.networks.transformer import TransformerConfig
from insertion_jax.types import EOS_ID, NUM_SPECIALS, Batch, InsertionLogits, Network

SIZE, PROMPT, VOCAB = 5, 3, 7
TRUNK = TransformerConfig(num_layers=1, num_heads=2, width=8, dropout=0.2)


def _batch():
    """Rows: empty, one token, full, all anchored, anchored with closed gaps."""
    length = np.array([0, 1, 5, 3, 4], np.int32)
    anchored = np.zeros((5, SIZE), bool)
    anchored[3, :3] = True
    anchored[4, [0, 2]] = True
    closed = np.zeros((5, SIZE + 1), bool)
    closed[3, :3] = closed[4, 0] = True
    rng = np.random.default_rng(0)
    inside = np.arange(SIZE) < length[:, None]
    tokens = np.where(inside, rng.integers(NUM_SPECIALS, VOCAB, (5, SIZE)), 0)
    mask = np.arange(PROMPT) < np.array([3, 0, 1, 2, 3])[:, None]
    prompt = np.where(mask, rng.integers(NUM_SPECIALS, VOCAB, (5, PROMPT)), 0)
    return Batch(
        prompt=prompt.astype(np.int32),
        prompt_mask=mask,
        tokens=tokens.astype(np.int32),
        length=length,
        anchored=anchored,
        closed=closed,
        index=np.arange(5, dtype=np.int32),
    )


def _row(number):
    return jax.tree.map(lambda x: x[number], _batch())


def _cheap_policy(emits_eos):
    """Logits from the counts of tokens; noise stands for dropout."""

    def init(key, example):
        keys = jax.random.split(key, 3)
        return {
            "slot": jax.random.normal(keys[0], (VOCAB,)),
            "stop": jax.random.normal(keys[1], (VOCAB,)),
            "token": jax.random.normal(keys[2], (VOCAB, VOCAB)),
        }

    def apply(params, prompt, prompt_mask, dropout_key=None):
        def policy(canvas, key=None):
            inside = jnp.arange(SIZE) < canvas.length
            counts = jnp.zeros(VOCAB).at[canvas.tokens].add(inside)
            counts = counts.at[prompt].add(prompt_mask) + 1.0
            if dropout_key is not None:
                key = dropout_key if key is None else key
                counts += 0.3 * jax.random.normal(key, counts.shape)
            slot = jnp.sin(jnp.arange(SIZE + 1) * (counts @ params["slot"]))
            token = jnp.tile(counts @ params["token"], (SIZE + 1, 1))
            allowed = jnp.arange(VOCAB) >= NUM_SPECIALS
            allowed |= emits_eos & (jnp.arange(VOCAB) == EOS_ID)
            return InsertionLogits(
                slot, jnp.sin(counts @ params["stop"]), jnp.where(allowed, token, -1e9)
            )

        return policy

    return Network(init, apply)


def _cheap_order():
    def apply(params, example, dropout_key=None):
        noise = 0.0 if dropout_key is None else jax.random.normal(dropout_key)
        return jnp.sin(params["order"][example.tokens] + 0.1 * noise)

    return Network(lambda key, _: {"order": jax.random.normal(key, (VOCAB,))}, apply)


def _make(trunk=None, **options):
    """A method and parameters; without a trunk, of networks that compile fast."""
    config = InsertionConfig(bound_samples=3, **options)
    emits_eos = config.termination == "eos"
    policy, posterior = _cheap_policy(emits_eos), _cheap_order()
    if trunk is not None:
        policy = canvas.make(trunk, VOCAB, emits_eos=emits_eos)
        posterior = order.make(trunk, VOCAB)
    if config.order != "learned":
        posterior = None
    method = insertion_method.make(policy, posterior, config, task_order=_middle_first)
    return method, tiny.random_params(method.init, _row(0))


def _middle_first(example):
    middle = (example.length - 1) / 2
    position = jnp.arange(example.tokens.shape[0])
    return jnp.abs(position - middle)


KINDS = [*itertools.product(insertion_method.ORDERS, insertion_method.TERMINATIONS)]


@pytest.mark.parametrize(
    ("order_", "termination", "trunk"),
    [
        *((*kind, None) for kind in KINDS),
        ("learned", "eos", TRUNK),
    ],
)
def test_runs_on_every_kind_of_row(order_, termination, trunk):
    method, params = _make(trunk, order=order_, termination=termination, num_steps=2)
    batch = _batch()
    groups = {"policy", "order"} if order_ == "learned" else {"policy"}
    assert set(params) == groups
    keys = jax.random.split(jax.random.key(1), (3, 5))

    @tables.jit
    def everything(params, keys):
        loss = jax.value_and_grad(method.loss, has_aux=True)
        losses = jax.vmap(loss, (None, 0, 0, None))(params, batch, keys[0], 0)
        bounds = jax.vmap(method.bound, (None, 0, 0))(params, batch, keys[1])
        return (
            losses,
            bounds,
            jax.vmap(method.sample, (None, 0, 0))(params, batch, keys[2]),
        )

    (losses, grads), bounds, (canvases, traces) = jax.tree.map(
        np.asarray, everything(params, keys)
    )
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((losses, grads, bounds)))
    info = losses[1]
    terms = info["slot"] + info["token"] + info["stop"] + info["order_entropy"]
    np.testing.assert_allclose(info["elbo"], terms, rtol=1e-5, atol=1e-5)
    # Nothing to insert: the one step is to stop, and its bound is exact.
    for row in (0, 3):
        assert info["slot"][row] == info["token"][row] == 0.0
        np.testing.assert_allclose(
            bounds["elbo"][row], bounds["importance_weighted_bound"][row], atol=1e-5
        )
    assert (bounds["elbo"] <= bounds["importance_weighted_bound"] + 1e-4).all()
    # Row by row, some gradient arrives in every parameter group.
    for group in groups:
        sizes = [np.abs(x).max() for x in jax.tree.leaves(grads[group])]
        assert max(sizes) > 1e-6
    # Samples keep the anchored tokens, and hold content alone.
    assert (canvases.length == batch.anchored.sum(axis=1) + traces.num_steps).all()
    for row in range(5):
        made = canvases.tokens[row][canvases.anchored[row]]
        np.testing.assert_array_equal(made, batch.tokens[row][batch.anchored[row]])
        assert (canvases.tokens[row, : canvases.length[row]] >= NUM_SPECIALS).all()


def test_loss_is_minus_the_surrogate():
    # A full row that is all anchored has nothing random in it: loss = -ELBO.
    method, params = _make()
    loss, info = tables.jit(method.loss)(params, _row(3), jax.random.key(1), 0)
    np.testing.assert_allclose(loss, -info["elbo"], rtol=1e-5)
    assert loss > 0


@pytest.mark.parametrize("share_dropout", [True, False])
def test_shared_dropout_keeps_noise_out_of_the_comparison(share_dropout):
    # With one token both orders are the same: only noise can tell them apart.
    method, params = _make(share_dropout=share_dropout)
    keys = jax.random.split(jax.random.key(2), 4)
    loss = tables.jit(jax.vmap(method.loss, (None, None, 0, None)))
    variance = loss(params, _row(1), keys, 0)[1]["value_variance"]
    if share_dropout:
        assert not variance.any()
    else:
        assert (variance > 1e-8).all()


def test_dropout_acts_in_training_alone():
    method, params = _make()
    keys = jax.random.split(jax.random.key(3), (2, 8))
    loss = tables.jit(jax.vmap(method.loss, (None, None, 0, None)))
    bound = tables.jit(jax.vmap(method.bound, (None, None, 0)))
    # Nothing to insert, so that dropout is all that is random.
    assert np.std(loss(params, _row(0), keys[0], 0)[0]) > 1e-4
    assert np.ptp(bound(params, _row(0), keys[1])["elbo"]) == 0.0


def test_entropy_weight_falls_linearly():
    def losses(steps, **options):
        method, params = _make(**options)
        run = tables.jit(jax.vmap(method.loss, (None, None, None, 0)))
        return np.asarray(run(params, _row(2), jax.random.key(4), np.array(steps))[0])

    none = losses([0, 100])
    constant = losses([0, 100], entropy_weight=2.0)
    annealed = losses([0, 5, 10, 100], entropy_weight=2.0, entropy_anneal_steps=10)
    assert none[0] == none[1]
    assert constant[0] == constant[1]
    assert abs(none[0] - constant[0]) > 0.1
    expected = [constant[0], (constant[0] + none[0]) / 2, none[0], none[0]]
    np.testing.assert_allclose(annealed, expected, rtol=1e-5)
    options = {"entropy_weight": 3.0, "entropy_final_weight": 1.0}
    annealed = losses([0, 5, 10, 100], **options, entropy_anneal_steps=10)
    each = (constant[0] - none[0]) / 2
    np.testing.assert_allclose(
        annealed, none[0] + each * np.array([3, 2, 1, 1]), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"entropy_final_weight": 0.5}, r"does not change \(entropy_anneal_steps is 0"),
        (
            {"order": "uniform", "num_samples": 1, "entropy_final_weight": 0.5},
            "entropy_final_weight is 0.5, but the uniform order is not trained",
        ),
        ({"order": "random"}, r"order must be one of \('learned', .* got 'random'"),
        ({"termination": "stop"}, r"termination must be one of .* got 'stop'"),
        ({"num_samples": 1}, "num_samples of at least 2, got 1"),
        ({"order_steps": -1}, "order_steps is -1, but must be at least 0"),
        ({"order_steps": 2}, "is 2, but the order is learned; it must be 0"),
        ({"min_insertions": -1}, "min_insertions is -1, but must be at least 0"),
        ({"num_steps": -1}, "num_steps is -1, but must be at least 0"),
        ({"bound_samples": 0}, "bound_samples is 0, but must be at least 1"),
    ],
)
def test_config_errors(options, message):
    with pytest.raises(ValueError, match=message):
        InsertionConfig(**options)


def test_fixed_orders_may_use_one_sample():
    assert InsertionConfig(order="uniform", num_samples=1).num_samples == 1


def test_posterior_goes_with_a_learned_order_alone():
    policy, posterior = canvas.make(TRUNK, VOCAB), order.make(TRUNK, VOCAB)
    with pytest.raises(ValueError, match="'learned' goes with a posterior"):
        insertion_method.make(policy, None, InsertionConfig())
    with pytest.raises(ValueError, match="'uniform' goes without a posterior"):
        insertion_method.make(policy, posterior, InsertionConfig(order="uniform"))


def test_a_task_without_an_order_is_named():
    policy = canvas.make(TRUNK, VOCAB)
    with pytest.raises(ValueError, match="prescribes none; allowed are learned, unif"):
        insertion_method.make(policy, None, InsertionConfig(order="task"))


def test_the_order_of_the_task_becomes_certain():
    options = {"num_samples": 1, "num_steps": 0}
    late, params = _make(order="task", order_steps=10, **options)
    losses = {
        name: _make(order=name, **options)[0].loss for name in ("uniform", "task")
    }
    row, key = _row(2), jax.random.key(7)

    def value(loss, step):
        return tables.jit(loss)(params, row, jax.random.clone(key), step)[0]

    before, after = value(losses["uniform"], 0), value(losses["task"], 0)
    assert abs(before - after) > 0.1
    for step, expected in ((0, before), (10, after), (50, after)):
        np.testing.assert_allclose(value(late.loss, step), expected, rtol=1e-5)
    between = value(late.loss, 8)
    assert abs(between - before) > 0.01 < abs(between - after)


def test_greedy_sampling_needs_no_luck():
    method, params = _make()
    keys = jax.random.split(jax.random.key(5), 4)
    run = lambda key: method.sample(params, _row(4), key, greedy=True)
    canvases, _ = tables.jit(jax.vmap(run))(keys)
    assert (canvases.tokens == canvases.tokens[0]).all()
    assert (canvases.length == canvases.length[0]).all()


def test_sampling_reads_nothing_of_the_target():
    method, params = _make()
    key = jax.random.key(6)
    row = _row(4)
    other = row._replace(
        tokens=jnp.where(row.anchored, row.tokens, 6), length=jnp.int32(5)
    )
    run = tables.jit(lambda row: method.sample(params, row, jax.random.clone(key)))
    jax.tree.map(np.testing.assert_array_equal, run(row), run(other))


@pytest.mark.parametrize("termination", insertion_method.TERMINATIONS)
def test_what_may_not_stop_at_once(termination):
    options = {"order": "uniform", "num_samples": 1, "termination": termination}
    free, params = _make(**options)
    bound, _ = _make(min_insertions=2, **options)
    example = _row(1)._replace(length=np.int32(0))
    keys = jax.random.split(jax.random.key(3), (3, 100))

    @tables.jit
    def everything(params, keys):
        one = lambda method, key: method.sample(params, example, key)[0].length
        lengths, least = (
            jax.vmap(functools.partial(one, method))(some)
            for method, some in ((free, keys[0]), (bound, keys[1]))
        )
        return lengths, least, bound.bound(params, example, keys[2, 0])["elbo"]

    lengths, least, elbo = everything(params, keys)
    assert lengths.min() < 2 <= least.min()
    # What is shorter has no probability, in finite numbers.
    assert np.isfinite(elbo) and elbo < -1e29
