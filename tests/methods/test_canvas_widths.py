"""Canvases of early steps, cut to narrower widths, give the same estimate."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shipped
import tables
import tiny

from insertion_jax import build
from insertion_jax.core import policies
from insertion_jax.methods import insertion_method, insertion_process
from insertion_jax.networks import canvas as canvas_network
from insertion_jax.networks import trajectory
from insertion_jax.types import EOS_ID, InputError

SIZE = 12


@pytest.mark.parametrize("num_widths", range(1, 6))
def test_widths_hold_the_canvases_of_their_steps_and_no_less(num_widths):
    for size, most in itertools.product((1, 2, 7, 12), (0, 1, 3)):
        widths = insertion_process.canvas_widths(size, num_widths, most)
        longest = np.zeros(num_widths, int)
        for length, anchored in itertools.product(range(size + 1), range(most + 1)):
            missing = length - anchored
            if missing < 0:
                continue
            # The last step of each part, in exact arithmetic.
            ends = -(-np.arange(1, num_widths + 1) * (missing + 1) // num_widths)
            longest = np.maximum(longest, anchored + ends - 1)
        np.testing.assert_array_equal(widths, longest)


def _case(name):
    rng = np.random.default_rng(1)
    example = tiny.example(size=SIZE)
    length = 5 if name == "short" else SIZE
    anchored = np.zeros(SIZE, bool)
    closed = np.zeros(SIZE + 1, bool)
    if name == "anchored":
        anchored[[0, 4, 11]] = True
        closed[[0, 3]] = True
    return example._replace(
        tokens=rng.integers(3, tiny.VOCAB, SIZE).astype(np.int32),
        length=np.int32(length),
        anchored=anchored,
        closed=closed,
    )


@functools.cache
def _network(emits_eos):
    config = tiny.config(num_layers=1)
    network = canvas_network.make(config, tiny.VOCAB, emits_eos=emits_eos)
    return network, tiny.random_params(network.init, tiny.example(size=SIZE))


def _estimate(case, num_widths, *, eos=False, max_anchored=3, min_insertions=0):
    network, params = _network(eos)
    eos_id = EOS_ID if eos else None

    def surrogate(params, logits):
        policy = network.apply(params, case.prompt, case.prompt_mask)
        if min_insertions:
            policy = policies.stopping_after(policy, min_insertions, eos_id)
        return insertion_process.elbo_surrogate(
            jax.random.key(3),
            policy,
            logits,
            case.tokens,
            case.length,
            num_steps=4,
            anchored=case.anchored,
            closed=case.closed,
            eos_id=eos_id,
            num_widths=num_widths,
            max_anchored=max_anchored,
        )

    logits = np.random.default_rng(2).normal(size=SIZE).astype(np.float32)
    run = tables.jit(jax.value_and_grad(surrogate, argnums=(0, 1), has_aux=True))
    return jax.tree.map(np.asarray, run(params, logits))


@pytest.mark.parametrize(
    ("name", "num_widths", "options"),
    [
        ("long", 2, {}),
        ("short", 4, {"eos": True}),
        ("anchored", 4, {"min_insertions": 3}),
    ],
)
def test_the_estimate_and_its_gradient_stay(name, num_widths, options):
    wide = _estimate(_case(name), 1, **options)
    (_, info), _ = wide
    assert np.isfinite(info.elbo)
    narrow = _estimate(_case(name), num_widths, **options)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4),
        narrow,
        wide,
    )


def test_control_more_anchors_than_were_announced_are_not_a_number():
    case = _case("anchored")
    case.anchored[:5] = True  # more than any canvas of the first part may hold
    (_, info), _ = _estimate(case, 4, max_anchored=0)
    assert np.isnan(info.elbo)


def test_what_does_not_go_with_widths_is_refused():
    case, logits = _case("long"), jnp.zeros(SIZE)
    network, params = _network(False)
    policy = network.apply(params, case.prompt, case.prompt_mask)
    estimate = functools.partial(
        insertion_process.elbo_surrogate,
        jax.random.key(0),
        order_logits=logits,
        tokens=case.tokens,
        length=case.length,
    )
    with pytest.raises(ValueError, match="must divide num_steps, got 2 and 3"):
        estimate(policy=policy, num_steps=3, num_widths=2)
    with pytest.raises(ValueError, match="must be 1 for a trajectory policy"):
        estimate(policy=policy, num_steps=None, num_widths=2)
    one_pass = trajectory.make(tiny.config(), tiny.VOCAB)
    params = tiny.random_params(one_pass.init, tiny.example(size=SIZE))
    with pytest.raises(ValueError, match="must be 1 for a trajectory policy"):
        estimate(
            policy=one_pass.apply(params, case.prompt, case.prompt_mask),
            num_steps=2,
            num_widths=2,
        )
    with pytest.raises(ValueError, match="needs max_anchored"):
        estimate(policy=policy, num_steps=2, num_widths=2, anchored=case.anchored)
    with pytest.raises(InputError, match="num_widths is 2, but must divide num_steps"):
        insertion_method.InsertionConfig(num_steps=3, num_widths=2)
    with pytest.raises(InputError, match="but all steps are taken"):
        insertion_method.InsertionConfig(num_steps=0, num_widths=2)


def test_a_config_with_widths_a_network_or_task_cannot_have_is_refused():
    def config(network):
        made = shipped.star_graphs(f"tier=tiny,size=smoke,network={network}")
        made.method.update(num_steps=2, num_widths=2)
        return made

    task = build.task(config("canvas"))
    assert build.method(config("canvas"), task)
    with pytest.raises(InputError, match="a trajectory network reads all canvases"):
        build.method(config("trajectory"), task)
    with pytest.raises(InputError, match="how many tokens stand on a canvas at most"):
        build.method(config("canvas"), task._replace(max_anchored=None))
