"""One pass over an order against the token-by-token run with a cache, and the rest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
import tiny

from insertion_jax.core import exact, policies
from insertion_jax.networks import relative, trajectory
from insertion_jax.types import EOS_ID, NUM_SPECIALS, TrajectoryPolicy

PERM = np.array([3, 0, 1, 2, 4, 5], np.int32)  # position 2 is anchored
MISSING = 3


class _Model:
    """A network with parameters and jitted passes."""

    def __init__(self, params=None, emits_eos=False, **config):
        network = trajectory.make(
            tiny.config(**config), tiny.VOCAB, emits_eos=emits_eos
        )
        if params is None:
            params = tiny.random_params(network.init, tiny.example())
        self.params, self.network = params, network

        def policy_of(params, example, dropout_key=None):
            return network.apply(
                params, example.prompt, example.prompt_mask, dropout_key
            )

        def args(example, perm):
            return example.tokens, example.length, perm, example.anchored

        def one_pass(params, example, perm, dropout_key=None, key=None):
            policy = policy_of(params, example, dropout_key)
            states = policy.encode(*args(example, perm), key)
            steps = jnp.arange(example.tokens.shape[0] + 1)
            return jax.vmap(policy.read, (None, 0))(states, steps)

        def both(params, example, perms):
            policy = policy_of(params, example)
            return jax.vmap(
                lambda perm: (
                    policy(*args(example, perm)),
                    policies.replay(policy, *args(example, perm)),
                )
            )(perms)

        self.policy_of, self.one_pass = policy_of, one_pass
        self.run, self.both = tables.jit(one_pass), tables.jit(both)

    def __call__(self, example, perm=PERM, *keys):
        params = tiny.resized(self.params, example)
        return jax.tree.map(np.asarray, self.run(params, example, perm, *keys))


# One block for the rows and that of the slots; elsewhere two and that.
OPTIONS = {"num_layers": 1, "neighbours": True, "prompt_positions": True}


@pytest.fixture(scope="module")
def model():
    return _Model(**OPTIONS)


def _assert_same(made, other, first=1, missing=MISSING, atol=1e-5):
    """Compares the steps that are there, of canvases of `first` tokens and more."""
    for step in range(missing + 1):
        here = slice(first + step + 1)
        a, b = (jax.tree.map(lambda x, i=step: x[i], x) for x in (made, other))
        np.testing.assert_allclose(a.slot[here], b.slot[here], atol=atol)
        np.testing.assert_allclose(a.stop, b.stop, atol=atol)
        np.testing.assert_allclose(
            a.token[here, NUM_SPECIALS:], b.token[here, NUM_SPECIALS:], atol=atol
        )


def _orders(missing, size, count=6, seed=0):
    """Random orders of the missing positions, all others in increasing order."""
    rng = np.random.default_rng(seed)
    rest = np.setdiff1d(np.arange(size), missing)
    rows = [np.append(rng.permutation(missing), rest) for _ in range(count)]
    return np.array(rows, np.int32)


def _assert_passes_agree(model, example):
    anchored = np.asarray(example.anchored)
    inside = np.arange(len(anchored)) < example.length
    missing = np.flatnonzero(inside & ~anchored)
    perms = _orders(missing, len(anchored))
    params = tiny.resized(model.params, example)
    made, stepwise = jax.tree.map(np.asarray, model.both(params, example, perms))
    for row in range(len(perms)):
        _assert_same(
            *(jax.tree.map(lambda x, i=row: x[i], x) for x in (made, stepwise)),
            first=int(anchored.sum()),
            missing=len(missing),
        )
    # Orders matter, so that there is something to get wrong.
    if len(missing) > 1:
        spread = made.stop[:, len(missing)]
        assert spread.max() - spread.min() > 1e-3
    return made


@pytest.mark.parametrize("garbage", [0, 1_000_000, -7])
def test_one_pass_is_the_run_with_a_cache(model, garbage):
    _assert_passes_agree(model, tiny.example(garbage=garbage))


@pytest.mark.parametrize("length", [0, 1, 6])
def test_one_pass_is_the_run_with_a_cache_without_anchors(model, length):
    example = tiny.example(garbage=4)
    bare = {"anchored": np.zeros(6, bool), "length": np.int32(length)}
    _assert_passes_agree(model, example._replace(**bare))


def test_one_pass_is_the_run_with_a_cache_with_eos_and_without_options():
    model, example = _Model(emits_eos=True), tiny.example()
    _assert_passes_agree(model, example)
    made, _ = model.both(model.params, example, PERM[None])
    probs = np.asarray(jax.nn.softmax(made.token[0, :4, :5]))
    specials = np.flatnonzero(~probs.any(axis=(0, 1)))
    assert set(specials.tolist()) == set(range(NUM_SPECIALS)) - {EOS_ID}


def test_without_a_prompt(model):
    example = tiny.example()._replace(
        prompt=np.zeros(0, np.int32), prompt_mask=np.zeros(0, bool)
    )
    made = _assert_passes_agree(model, example)
    masked = tiny.example()._replace(prompt_mask=np.zeros(4, bool))
    other = _assert_passes_agree(model, masked)
    _assert_same(*(jax.tree.map(lambda x: x[0], x) for x in (made, other)))


@pytest.mark.parametrize("garbage", [0, 6, 1_000_000, -7])
def test_padding_does_not_matter(model, garbage):
    longer = np.append(PERM, np.arange(6, 11)).astype(np.int32)
    _assert_same(model(tiny.example()), model(tiny.example(9, 11, garbage), longer))


def test_what_comes_later_is_not_seen(model):
    example = tiny.example()
    plain = model(example)

    def difference(**changes):
        perm = changes.pop("perm", PERM)
        other = model(example._replace(**changes), perm)
        gap = np.abs(other.slot - plain.slot)
        return [gap[step, : step + 2].max() for step in range(MISSING + 1)]

    # Positions 3, 0 and 1 are inserted by steps 1, 2 and 3; 2 stands there before.
    changes = [
        (1, {"tokens": np.array([4, 4, 7, 5, 0, 0], np.int32)}),
        (2, {"tokens": np.array([5, 4, 7, 3, 0, 0], np.int32)}),
        (3, {"tokens": np.array([4, 5, 7, 3, 0, 0], np.int32)}),
        # The same token goes to the same slot first; then the orders part.
        (3, {"perm": np.array([3, 1, 0, 2, 4, 5], np.int32)}),
        (0, {"tokens": np.array([4, 4, 5, 3, 0, 0], np.int32)}),
        (0, {"prompt": np.array([5, 4, 8, 0], np.int32)}),
        (0, {"prompt": np.array([3, 5, 8, 0], np.int32)}),  # its order
        (0, {"prompt_mask": np.array([True, True, False, False])}),
    ]
    for first, change in changes:
        gaps = difference(**change)
        assert max(gaps[:first], default=0.0) < 1e-5, change
        # Control: from there on everything changes.
        assert min(gaps[first:]) > 1e-4, change


def test_the_order_matters_on_the_same_canvas(model):
    example = tiny.example()
    other = model(example, np.array([0, 3, 1, 2, 4, 5], np.int32))
    assert np.abs(other.slot[2, :4] - model(example).slot[2, :4]).max() > 1e-3


def test_dropout_is_a_function_of_its_keys():
    model, example = _Model(dropout=0.3, num_layers=1), tiny.example()

    def slots(*numbers):
        keys = [None if n is None else jax.random.key(n) for n in numbers]
        return model(example, PERM, *keys).slot[:4, :2]

    plain = slots(None, 2)  # a key for one pass alone is without effect
    np.testing.assert_array_equal(slots(None, 3), plain)
    np.testing.assert_array_equal(slots(1, 2), slots(1, 2))
    made = [slots(1), slots(2), slots(1, 2), slots(1, 3), slots(2, 2), plain]
    for i, one in enumerate(made):
        for other in made[:i]:
            assert np.abs(one - other).max() > 1e-3


def test_bfloat16_is_close_and_gives_float32(model):
    low = _Model(model.params, dtype="bfloat16", **OPTIONS)
    logits = low(tiny.example())
    assert all(x.dtype == np.float32 for x in logits)
    assert all(np.isfinite(x).all() for x in logits)
    _assert_same(logits, model(tiny.example()), atol=0.25)


def _loss(model, missing=MISSING):
    def loss(params, example, *keys):
        logits = model.one_pass(params, example, jnp.asarray(PERM), *keys)
        return sum(
            logits.slot[i, : i + 2].sum() + logits.stop[i] + logits.token[i, 0, 4]
            for i in range(missing + 1)
        )

    return tables.jit(jax.value_and_grad(loss))


def test_gradients_are_finite_and_remat_changes_nothing(model):
    example = tiny.example(9, 6, 6)
    params = tiny.resized(model.params, example)
    value, grads = _loss(model)(params, example)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(grads))
    embedding = np.asarray(grads["embed"]["token"]["embedding"])
    assert not embedding[6].any()  # stands in padding alone
    assert embedding[[1, 2, 3, 4, 5, 7, 8]].any(axis=1).all()
    for name in ("offset_key", "offset_bias"):
        assert np.any(grads["slot_block"][name])
        assert np.any(grads["blocks_0"][name])
    again = _loss(_Model(params, remat=True, **OPTIONS))(params, example)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3),
        (value, grads),
        again,
    )


def test_likelihoods_one_pass_and_token_by_token(model):
    example, tokens = tiny.example(), jnp.asarray([4, 4, 5])

    @tables.jit
    def likelihoods(params):
        policy = model.policy_of(params, example)

        def encode(tokens, length, perm, anchored=None, key=None):
            del key
            return policies.replay(policy, tokens, length, perm, anchored)

        by_step = TrajectoryPolicy(encode, lambda x, i: jax.tree.map(lambda y: y[i], x))
        return [exact.log_likelihood(kind, tokens, 3) for kind in (policy, by_step)]

    one, other = likelihoods(model.params)
    assert -40.0 < one < 0.0
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)


def test_parameters_do_not_depend_on_the_example():
    network = trajectory.make(tiny.config(num_layers=1), tiny.VOCAB)
    shapes = [
        jax.eval_shape(network.init, jax.random.key(0), tiny.example(*sizes))
        for sizes in ((4, 6), (9, 11))
    ]
    assert shapes[0] == shapes[1]


def test_buckets_of_offsets():
    distance = np.arange(3000)
    doublings = np.ceil(np.log2(np.maximum(distance, 4)) - 2).astype(int)
    side = np.where(distance <= 4, distance, np.minimum(4 + doublings, 12))
    run = jax.jit(relative.bucket)
    np.testing.assert_array_equal(run(distance), 12 + side)
    np.testing.assert_array_equal(run(-distance), 12 - side)
    assert run(0) == 12
    assert set(np.asarray(run(np.arange(-3000, 3001))).tolist()) == set(
        range(relative.NUM_BUCKETS)
    )
