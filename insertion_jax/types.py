"""The structs that cross a boundary between two parts of the package.

Symbols, here and everywhere: `B` batch, `C` padded prompt length, `L` padded
target length, `V` vocabulary size. All positions, slots and steps count from 0.
A canvas of `n` tokens has `n + 1` slots; slot `k` is the gap before its token
`k`, slot `n` the gap after the last one. Log-probabilities are in nats.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

# Every task's vocabulary starts with these three; content tokens follow.
PAD_ID = 0
BOS_ID = 1
EOS_ID = 2
NUM_SPECIALS = 3


class InputError(ValueError):
    """Bad input from a person; the message is one sentence meant for them."""


class Canvas(NamedTuple):
    """A partial sequence, compacted to the left.

    Attributes:
      tokens: int32[L], the first `length` entries are the sequence; the rest is
        padding and is never read.
      length: int32[].
      anchored: bool[L], marks the tokens that were on the canvas from the start;
        None where no token was.
    """

    tokens: ArrayLike
    length: ArrayLike
    anchored: ArrayLike | None = None


class InsertionLogits(NamedTuple):
    """What a policy says about one canvas. All entries are unnormalised.

    Attributes:
      slot: float[L + 1], where to insert; slots beyond the canvas' length are
        ignored.
      stop: float[], competes with the slots (policy termination); `-inf` where
        stopping is the insertion of an EOS token (EOS termination).
      token: float[L + 1, V], what to insert at each slot.
    """

    slot: ArrayLike
    stop: ArrayLike
    token: ArrayLike


class Batch(NamedTuple):
    """Examples of a task. Without the leading axis, one example.

    Attributes:
      prompt: int32[B, C], always visible, right-padded.
      prompt_mask: bool[B, C], true at the prompt's tokens.
      tokens: int32[B, L], the target sequences, right-padded.
      length: int32[B].
      anchored: bool[B, L], target positions that are on the canvas from the start.
      closed: bool[B, L + 1], gaps into which nothing may be inserted. Gap `g` lies
        before the `g`-th anchored token; the last gap after the last one.
      index: int32[B], the row's number in the global batch: randomness is drawn
        by it, so that results do not depend on how rows are spread over devices.
    """

    prompt: ArrayLike
    prompt_mask: ArrayLike
    tokens: ArrayLike
    length: ArrayLike
    anchored: ArrayLike
    closed: ArrayLike
    index: ArrayLike


class Trace(NamedTuple):
    """What a sampler did. Entries from `num_steps` on are -1.

    Attributes:
      slot: int32[T], the slot of every insertion.
      token: int32[T], the token of every insertion.
      num_steps: int32[], the number of insertions.
      stopped: bool[], whether the model stopped by itself; false where it would
        have gone on at a full canvas.
    """

    slot: ArrayLike
    token: ArrayLike
    num_steps: ArrayLike
    stopped: ArrayLike


class Network(NamedTuple):
    """A network as two pure functions.

    Attributes:
      init: `(key, example) -> params`, from one example (a `Batch` without its
        leading axis).
      apply: what it computes is said where the network is made.
    """

    init: Callable[..., Any]
    apply: Callable[..., Any]


class Method(NamedTuple):
    """A way to train and to sample, as four pure functions of ONE example.

    Attributes:
      init: `(key, example) -> params`, a dict of parameter groups, of which
        "policy" is the one that generates.
      loss: `(params, example, key, step) -> (loss, info)`; the mean of `loss` over
        examples is minimised, `info` is a dict of scalars to log.
      bound: `(params, example, key) -> dict` of scalars: bounds of the target's
        log-probability in nats.
      sample: `(params, example, key, *, temperature, top_p, greedy) ->
        (Canvas, Trace)`; reads the example's prompt, anchored tokens and closed
        gaps, not the rest of its target.
    """

    init: Callable[..., Any]
    loss: Callable[..., Any]
    bound: Callable[..., Any]
    sample: Callable[..., Any]


class Score(NamedTuple):
    """One metric over N samples, as a ratio of sums: `sum(total) / sum(count)`.

    Attributes:
      total: float64[N].
      count: float64[N]; ones for a plain mean.
      is_rate: whether each total is a yes (1) or a no (0), of count 1.
    """

    total: np.ndarray
    count: np.ndarray
    is_rate: bool = False


class Task(NamedTuple):
    """Data, vocabulary, metrics and pictures of one problem. Runs on the host.

    Attributes:
      name: for titles and messages.
      vocabulary: the text of each token id, specials first.
      prompt_length: C.
      max_length: L.
      load: `(split) -> Batch` of NumPy arrays with all examples of a split of
        "train", "validation" and "test"; `index` counts from 0.
      score: `(examples, tokens[N, L], length[N], stopped[N]) -> dict` from the
        metric's name to a `Score`; the first entry is the headline metric.
      parse_prompt: `(text) -> Batch` of one row with an empty target, from what a
        person types; raises InputError that says what is wrong.
      format: `(tokens[L], length) -> str`, a generated sequence as text.
      draw: `(examples, tokens[N, L], length[N], step[N, L], path) -> None` writes a
        picture of N generated sequences side by side, `step[n, i]` being the step at
        which token i came.
    """

    name: str
    vocabulary: tuple[str, ...]
    prompt_length: int
    max_length: int
    load: Callable[[str], Batch]
    score: Callable[..., dict[str, Score]]
    parse_prompt: Callable[[str], Batch]
    format: Callable[..., str]
    draw: Callable[..., None]
