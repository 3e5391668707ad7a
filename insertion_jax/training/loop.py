"""The training loop: chunks of steps, and what happens between them.

Between two chunks the loop writes metrics, saves and evaluates, in this order. What it computes depends
on the configs and the seed alone: neither on the chunk nor (but for rounding) on the
devices, nor on how often the run was stopped and started again.
"""

import contextlib
import dataclasses
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from insertion_jax import types
from insertion_jax.training import buckets, checkpoint, data, logging, placement, state

# What the progress line shows of the metrics.
_HEADLINES = ("loss", "elbo")


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """How long to train and what to do how often. Periods are in steps.

    Attributes:
      num_steps: at which the run ends; a checkpoint and then an evaluation are made
        there. An evaluation that a stop cuts off is not made up for.
      batch_size: over all devices of all processes.
      chunk: how many steps run between two looks from the host; it divides
        `num_steps` and every period.
      log_every: period of metrics, each the mean over its steps.
      eval_every: period of evaluations.
      checkpoint_every: period of checkpoints.
      keep_checkpoints: how many of the newest stay.
      seed: of the initial parameters, the data order and all randomness.
      max_padding: share of padding that is accepted among the targets' positions.
        Below 1, examples of like lengths are trained on together.
      bucket_steps: then, for how many steps in a row; the chunk divides it.
    """

    num_steps: int
    batch_size: int
    chunk: int = 50
    log_every: int = 100
    eval_every: int = 1000
    checkpoint_every: int = 1000
    keep_checkpoints: int = 3
    seed: int = 0
    max_padding: float = 1.0
    bucket_steps: int = 10

    def __post_init__(self):
        if not 0 < self.max_padding <= 1:
            raise types.InputError(
                f"max_padding is {self.max_padding}, but must lie in (0, 1]."
            )
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "max_padding":
                continue
            least = 0 if field.name == "seed" else 1
            if value < least:
                raise types.InputError(
                    f"{field.name} is {value}, but must be at least {least}."
                )
        periods = ["num_steps", "log_every", "eval_every", "checkpoint_every"]
        if self.max_padding < 1:
            periods.append("bucket_steps")
        for name in periods:
            period = getattr(self, name)
            if period % self.chunk:
                raise types.InputError(
                    f"chunk is {self.chunk}, which does not divide {name}, {period}; "
                    "use a chunk that divides num_steps and every period."
                )


class NonFiniteLossError(RuntimeError):
    """The loss or the gradient's norm became infinite or NaN."""


def train(
    method: types.Method,
    optimizer_config: state.OptimizerConfig,
    config: LoopConfig,
    place: placement.Placement,
    examples: types.Batch,
    workdir: str | pathlib.Path,
    *,
    meta: Mapping[str, Any] | None = None,
    evaluate: Callable[[Any, int], Mapping[str, float]] | None = None,
) -> state.TrainState:
    """Trains from the newest checkpoint in `workdir`, or from scratch.

    SIGINT (Ctrl-C) and SIGTERM stop the run at the end of the current chunk: it saves
    a checkpoint and exits with status 128 + the signal's number. A second signal does
    what it would without this function.

    Args:
      method: what to train.
      optimizer_config: see there.
      config: see there.
      place: from `placement.make`.
      examples: the training set as NumPy arrays [N, ...].
      workdir: of the run.
      meta: what JSON can hold, for the checkpoints, beside the two configs and the
        versions that are added here.
      evaluate: `(params, step) -> values` to write under "eval/"; `params` hold the
        moving average as group "policy" and lie on all devices of the placement.

    Returns:
      The state after `config.num_steps` steps, in the saveable form.

    Raises:
      NonFiniteLossError: names the steps; checkpoints are of the time before.
      InputError: the devices do not divide the batch, the data set is smaller than a
        batch, or the checkpoint found is of something else.
    """
    place.check_batch_size(config.batch_size)
    data.check_size(len(examples.length), config.batch_size)
    optimizer = state.make_optimizer(optimizer_config)
    example = jax.tree.map(lambda x: np.asarray(x[0]), examples)
    meta = {
        **(meta or {}),
        "optimizer": dataclasses.asdict(optimizer_config),
        "loop": dataclasses.asdict(config),
        "versions": checkpoint.versions(),
    }

    def init():
        return state.init_state(jax.random.key(config.seed), method, example, optimizer)

    with contextlib.ExitStack() as stack:
        manager = stack.enter_context(
            checkpoint.open_manager(workdir, keep=config.keep_checkpoints)
        )
        shapes = jax.eval_shape(init)
        target = place.restore_target(shapes)
        if manager.latest_step() is None:
            # Made where it stays: the whole state may not fit on one device.
            shardings = jax.tree.map(lambda x: x.sharding, target)
            current = jax.jit(init, out_shardings=shardings)()
        else:
            current, saved = checkpoint.restore_latest(manager, target)
            _check_resumable(saved, config, workdir)
        start_step = int(current.step)
        current = place.from_saveable(current)
        writer = stack.enter_context(
            logging.MetricWriter(
                workdir,
                num_steps=config.num_steps,
                start_step=start_step,
                active=jax.process_index() == 0,
            )
        )
        if start_step >= config.num_steps:
            writer.note(f"{workdir} is trained for {start_step} steps already.")
            return place.saveable(current)
        if start_step > 0:
            writer.note(f"Going on from step {start_step} in {workdir}.")
        of_length = None
        if config.max_padding < 1:
            of_length = buckets.make(
                examples.length, config.max_padding, config.bucket_steps
            )
            writer.note(
                f"Targets are padded to {', '.join(map(str, of_length.widths))}."
            )
        chunks = stack.enter_context(
            contextlib.closing(
                data.Chunks(
                    examples,
                    seed=config.seed,
                    start_step=start_step,
                    end_step=config.num_steps,
                    chunk=config.chunk,
                    batch_size=config.batch_size,
                    of_length=of_length,
                    process_index=jax.process_index(),
                    process_count=jax.process_count(),
                )
            )
        )
        stop = stack.enter_context(_stop_signals())
        train_chunk = place.compile(
            state.make_train_step(method, optimizer, optimizer_config)
        )
        window = _Window(chunks)
        batches = place.put_chunk(next(chunks))
        count = sum(leaf.size for leaf in jax.tree.leaves(shapes.params))
        writer.note(
            f"Training {count:,} parameters on {len(examples.length):,} examples in "
            f"{workdir}; compiling comes first."
        )
        for step in range(
            start_step + config.chunk, config.num_steps + 1, config.chunk
        ):
            shape = batches.tokens.shape
            current, pending = train_chunk(current, batches)
            if step < config.num_steps:
                # While the devices are busy.
                batches = place.put_chunk(next(chunks))
            metrics = place.fetch(pending)
            _check_finite(metrics, step - config.chunk, manager)
            window.add(metrics, shape)

            last = step == config.num_steps
            if step % config.log_every == 0 or last:
                values, speed = window.take()
                writer.write(step, {f"train/{k}": v for k, v in values.items()})
                shown = {k: values[k] for k in _HEADLINES if k in values}
                writer.progress(step, shown, speed)
            signum = _agreed(stop)
            if step % config.checkpoint_every == 0 or last or signum:
                checkpoint.save(manager, place.saveable(current), meta)
            if signum and not last:
                manager.wait_until_finished()
                writer.note(
                    f"Stopped by {signal.Signals(signum).name} at step {step} of "
                    f"{config.num_steps} and saved; run the same command again to go on."
                )
                raise SystemExit(128 + signum)
            # After the save, so that a failing or killed evaluation costs no steps.
            if evaluate is not None and (step % config.eval_every == 0 or last):
                whole = place.saveable(current)
                values = evaluate({**whole.params, "policy": whole.ema_params}, step)
                writer.write(step, {f"eval/{k}": v for k, v in values.items()})
            window.restart_clock()
        return place.saveable(current)


class _Window:
    """Metrics and times of the chunks since the last line was written."""

    def __init__(self, chunks):
        self._chunks = chunks
        self._metrics = []
        self._steps = 0
        self._seconds = 0.0
        self._waited = 0.0
        self._compiled = set()
        self.restart_clock()

    def restart_clock(self):
        """To be called before each chunk: evaluations and saves are not timed."""
        self._start = time.perf_counter()
        self._waited_before = self._chunks.seconds_waited

    def add(self, metrics, shape):
        self._metrics.append(metrics)
        if shape in self._compiled:
            self._steps += len(metrics["loss"])
            self._seconds += time.perf_counter() - self._start
            self._waited += self._chunks.seconds_waited - self._waited_before
        # The first chunk of a shape includes the compilation: it would spoil the speed.
        self._compiled.add(shape)

    def take(self):
        """Returns the values to write and the steps per second, None if unknown."""
        values = {
            name: float(np.mean(np.concatenate([m[name] for m in self._metrics])))
            for name in self._metrics[0]
        }
        values["learning_rate"] = float(self._metrics[-1]["learning_rate"][-1])
        speed = None
        if self._steps:
            speed = self._steps / self._seconds
            values["steps_per_second"] = speed
            values["data_wait_share"] = self._waited / self._seconds
        self._metrics = []
        self._steps, self._seconds, self._waited = 0, 0.0, 0.0
        return values, speed


def _check_resumable(saved, config, workdir):
    # With others of these the checkpoint would fit, and go on with other data.
    for name in ("seed", "batch_size", "max_padding", "bucket_steps"):
        now = getattr(config, name)
        before = saved["loop"].get(name, now)
        if before != now:
            raise types.InputError(
                f"The checkpoints in {workdir} were made with {name} {before}, but "
                f"this run has {name} {now}; use the same, or another workdir."
            )
    if saved["step"] % config.chunk:
        raise types.InputError(
            f"The checkpoint in {workdir} is of step {saved['step']}, which the chunk "
            f"{config.chunk} does not divide; use a chunk that does."
        )


def _check_finite(metrics, start_step, manager):
    finite = np.isfinite(metrics["loss"]) & np.isfinite(metrics["grad_norm"])
    if finite.all():
        return
    first = start_step + int(np.argmin(finite))
    saved = manager.latest_step()
    where = (
        "no checkpoint was saved before"
        if saved is None
        else f"the last good checkpoint is {manager.directory}/{saved}"
    )
    raise NonFiniteLossError(
        f"The loss or the gradient's norm is not finite at step {first}, in the chunk "
        f"of steps {start_step} to {start_step + len(finite) - 1}; {where}."
    )


@contextlib.contextmanager
def _stop_signals():
    """Gives a list to which the first SIGINT or SIGTERM appends its number."""
    received = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # Only the main thread may handle signals.
        return
    signums = (signal.SIGINT, signal.SIGTERM)
    before = {signum: signal.getsignal(signum) for signum in signums}

    def restore():
        for signum, handler in before.items():
            signal.signal(signum, handler)

    def handle(signum, _):
        received.append(signum)
        restore()

    for signum in signums:
        signal.signal(signum, handle)
    try:
        yield received
    finally:
        restore()


def _agreed(received):
    """The signal on which all processes stop after this chunk; 0 for none."""
    signum = received[0] if received else 0
    if jax.process_count() == 1:
        return signum
    from jax.experimental import multihost_utils

    # Else one process would wait for the others in a save that they do not make.
    return int(multihost_utils.process_allgather(np.int32(signum)).max())
