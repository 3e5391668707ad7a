"""Where the numbers of a run go: a JSON-lines file, TensorBoard and the terminal."""

import functools
import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import Self, TextIO


class MetricWriter:
    """Writes metrics of a run. Use it as a context manager.

    `workdir/metrics.jsonl` is the truth: one JSON object a line with "step", "seconds"
    (of all attempts of the run together) and the values, null where not finite.
    TensorBoard files lie under `workdir/tensorboard`. Progress is a bar where the
    stream is a terminal, else plain lines.
    """

    def __init__(
        self,
        workdir: str | pathlib.Path,
        *,
        num_steps: int,
        start_step: int = 0,
        stream: TextIO | None = None,
        active: bool = True,
    ):
        """Opens the files and cuts away what a crashed attempt wrote too far.

        Args:
          workdir: of the run; it is made if it is not there.
          num_steps: at which the run ends.
          start_step: from which it goes on. Lines of later steps are from an attempt
            that ended before its next checkpoint; these steps are made again.
          stream: for progress; stderr if None.
          active: whether anything is written at all; False on all processes but one.
        """
        self._num_steps = num_steps
        self._stream = sys.stderr if stream is None else stream
        self._active = active
        self._file = self._board = self._bar = None
        self._start = time.perf_counter()
        if not active:
            return
        # Imported here, for they cost a second and an evaluation needs neither.
        import tensorboardX
        import tqdm

        workdir = pathlib.Path(workdir).absolute()
        workdir.mkdir(parents=True, exist_ok=True)
        path = workdir / "metrics.jsonl"
        self._start -= _cut(path, start_step)
        self._file = path.open("a", encoding="utf-8")
        # Opened by the first `write`: a run that has nothing left to do adds no file.
        self._open_board = functools.partial(
            tensorboardX.SummaryWriter,
            str(workdir / "tensorboard"),
            purge_step=start_step + 1,
        )
        if self._stream.isatty():
            self._bar = tqdm.tqdm(
                total=num_steps,
                initial=start_step,
                unit="step",
                file=self._stream,
                dynamic_ncols=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Appends values to the file and to TensorBoard.

        Args:
          step: how many updates were made.
          values: by name; a name such as "train/loss" gives its group first.
        """
        if not self._active:
            return
        if self._board is None:
            self._board = self._open_board()
        values = {name: float(value) for name, value in values.items()}
        line = {"step": step, "seconds": round(time.perf_counter() - self._start, 3)}
        for name, value in values.items():
            line[name] = value if math.isfinite(value) else None
            if line[name] is not None:  # the board complains of what is no number
                self._board.add_scalar(name, value, step)
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def progress(
        self, step: int, values: Mapping[str, float], steps_per_second: float | None
    ) -> None:
        """Shows how far the run is.

        Args:
          step: how many updates were made.
          values: the few to show.
          steps_per_second: None as long as it is not known.
        """
        if not self._active:
            return
        if self._bar is not None:
            self._bar.set_postfix(
                {name: f"{value:.4g}" for name, value in values.items()}, refresh=False
            )
            self._bar.update(step - self._bar.n)
            return
        parts = [f"step {step}/{self._num_steps}"]
        parts += [f"{name} {value:.4g}" for name, value in values.items()]
        if steps_per_second:
            digits = ".0f" if steps_per_second >= 100 else ".3g"
            parts.append(f"{steps_per_second:{digits}} steps/s")
            left = (self._num_steps - step) / steps_per_second
            parts.append(f"eta {_clock(left)}")
        self._print("  ".join(parts))

    def note(self, text: str) -> None:
        """Prints a line for the user, above the bar if there is one."""
        if self._active:
            self._print(text)

    def close(self) -> None:
        """Closes the files; a second call does nothing."""
        for thing in (self._bar, self._board, self._file):
            if thing is not None:
                thing.close()
        self._active = False

    def _print(self, text):
        if self._bar is None:
            print(text, file=self._stream, flush=True)
        else:
            self._bar.write(text, file=self._stream)


def _cut(path, last_step):
    """Removes the lines after `last_step`; returns the seconds of the last one left."""
    if not path.exists():
        return 0.0
    kept = []
    seconds = 0.0
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:  # A line half written when the run was killed.
            continue
        if line["step"] <= last_step:
            kept.append(text + "\n")
            seconds = line["seconds"]
    # The rename is atomic, so that a second crash here loses nothing.
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(kept), encoding="utf-8")
    os.replace(partial, path)
    return seconds


def _clock(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
