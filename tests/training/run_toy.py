"""Trains the toy in a process of its own, for tests that kill it or use several.

Arguments: workdir, placement, and one of
  plain
  hang STEP           at this step makes the file `hanging` and waits to be killed
  join PORT INDEX     is one of two processes
"""

import os
import pathlib
import sys
import threading

import jax
import toy

from insertion_jax.training import loop, placement, state

NUM_STEPS = 40
OPTIMIZER = state.OptimizerConfig(
    total_steps=NUM_STEPS,
    learning_rate=0.03,
    warmup_steps=4,
    muon_rms=0.2,
    ema_decay=0.9,
    ema_start_step=6,
)


def train(workdir, place, *, num_steps=NUM_STEPS, evaluate=None, method=None, **more):
    config = loop.LoopConfig(
        num_steps=num_steps,
        batch_size=8,
        chunk=5,
        log_every=5,
        eval_every=5,
        checkpoint_every=10,
        **more,
    )
    return loop.train(
        method or toy.make(),
        OPTIMIZER,
        config,
        place,
        # Not a multiple of the batch: an epoch has 3 steps.
        toy.examples(27),
        workdir,
        meta={"name": "toy"},
        evaluate=evaluate,
    )


def main(workdir, name, mode, *args):
    evaluate = None
    num_devices = 4
    if mode == "join":
        num_devices = 2
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", num_devices)
    jax.config.update("jax_debug_key_reuse", True)
    if mode == "join":
        port, index = args
        jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(index))
    if mode == "hang":

        def evaluate(params, step):
            if step == int(args[0]):
                (pathlib.Path(workdir) / "hanging").touch()
                threading.Event().wait()
            return {}

    train(workdir, placement.make(name), evaluate=evaluate)
    print("done", os.getpid())


if __name__ == "__main__":
    main(*sys.argv[1:])
