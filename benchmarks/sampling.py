"""Scoring and sampling: each token computed once, against the canvas anew every step.

    python benchmarks/sampling.py --length=64 --batch=64 --width=256 --layers=6

Both networks have random parameters, equal width, depth and heads, no prompt, and
write sequences of full length. They run in turns in one process, with matrix products
in between. Prints a table and a line of JSON:

    task       score: log-probability of a whole trajectory; sample: a new sequence
    seconds    for the batch, median of the turns
    tokens/s   inserted tokens over seconds
    ratio      seconds of the canvas network over seconds of this one
    matmul     rate of a 1024 x 1024 matrix product, GFLOP/s
"""

import jax
import jax.numpy as jnp
import measure
import numpy as np
import policies
from absl import app, flags

from insertion_jax.methods import insertion_process
from insertion_jax.networks.transformer import TransformerConfig
from insertion_jax.types import Canvas

_LENGTH = flags.DEFINE_integer("length", 64, "Tokens of a sequence.")
_BATCH = flags.DEFINE_integer("batch", 64, "Sequences.")
_WIDTH = flags.DEFINE_integer("width", 256, "Of the residual stream.")
_LAYERS = flags.DEFINE_integer("layers", 6, "Blocks.")
_HEADS = flags.DEFINE_integer("heads", 8, "Attention heads.")
_VOCAB = flags.DEFINE_integer("vocab", 64, "Token ids, specials included.")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of products.")
_TURNS = flags.DEFINE_integer("turns", 3, "How often to time.", lower_bound=1)


def main(argv):
    del argv
    config = TransformerConfig(
        num_layers=_LAYERS.value,
        num_heads=_HEADS.value,
        width=_WIDTH.value,
        dropout=0.0,
        dtype=_DTYPE.value,
    )
    batch = policies.examples(_BATCH.value, _LENGTH.value, _VOCAB.value)
    keys = jax.random.split(jax.random.key(1), _BATCH.value)
    rng = np.random.default_rng(2)
    perms = rng.permuted(np.tile(np.arange(_LENGTH.value), (_BATCH.value, 1)), axis=1)
    calls = {}
    for kind in policies.KINDS:
        params, policy_of = policies.network(kind, config, _VOCAB.value, batch)

        def score(example, perm, params=params, policy_of=policy_of):
            return insertion_process.trajectory_log_prob(
                policy_of(params, example), example.tokens, example.length, perm
            )

        def sample(example, key, params=params, policy_of=policy_of):
            empty = Canvas(jnp.zeros(_LENGTH.value, jnp.int32), jnp.int32(0))
            policy = policies.never_stopping(policy_of(params, example))
            return insertion_process.sample(
                key, policy, empty, max_length=_LENGTH.value
            )

        scored = jax.jit(jax.vmap(score))
        sampled = jax.jit(jax.vmap(sample))
        calls["score", kind] = lambda run=scored: run(batch, perms)
        calls["sample", kind] = lambda run=sampled: run(batch, keys)
        lengths = calls["sample", kind]()[0].length
        assert np.all(np.asarray(lengths) == _LENGTH.value), lengths
    seconds, matmul = measure.seconds_in_turns(calls, _TURNS.value, _DTYPE.value)
    tokens = _LENGTH.value * _BATCH.value
    rows = [
        {
            "task": task,
            "network": kind,
            "seconds": taken,
            "tokens/s": tokens / taken,
            "ratio": seconds[task, "canvas"] / taken,
        }
        for (task, kind), taken in seconds.items()
    ]
    flag_values = {f.name: f.value for f in _flags()}
    measure.show(rows, matmul=matmul / 1e9, **flag_values)


def _flags():
    return [_LENGTH, _BATCH, _WIDTH, _LAYERS, _HEADS, _VOCAB, _DTYPE, _TURNS]


if __name__ == "__main__":
    app.run(main)
