"""The structs that cross a boundary between two parts of the package.

Symbols, here and everywhere: `B` batch, `C` padded prompt length, `L` padded
target length, `V` vocabulary size. All positions, slots and steps count from 0.
A canvas of `n` tokens has `n + 1` slots; slot `k` is the gap before its token
`k`, slot `n` the gap after the last one. Log-probabilities are in nats.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
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


class TrajectoryPolicy(NamedTuple):
    """A policy that reads the order of insertion so far, not the canvas alone.

    Each token is computed once, when it is inserted, so that one pass over a
    permutation serves its L + 1 canvases (`encode`, then `read` step by step), and
    a sampler with a cache pays for one token an insertion (`begin`, `look`,
    `advance`). Called as a function, `policy(tokens, length, perm)`, it gives the
    logits of every step with a leading axis of L + 1.

    Attributes:
      encode: `(tokens, length, perm, anchored=None, key=None) -> states`, any
        pytree; the key is for dropout.
      read: `(states, step) -> InsertionLogits` of the canvas that holds the
        anchored tokens and `perm[:step]`; reads nothing of what comes later.
      begin: `(canvas) -> cache` for the tokens that stand at the start; None for
        policies that are not sampled from.
      look: `(cache) -> (slot[L + 1], stop, content)`, logits of the present canvas,
        with `content(slot) -> token[V]` those of one slot.
      advance: `(cache, slot, token) -> cache` with that token inserted.
    """

    encode: Callable[..., Any]
    read: Callable[..., InsertionLogits]
    begin: Callable[..., Any] | None = None
    look: Callable[..., Any] | None = None
    advance: Callable[..., Any] | None = None

    def __call__(self, tokens, length, perm, anchored=None):
        """`InsertionLogits` of every step, each with a leading axis of L + 1."""
        states = self.encode(tokens, length, perm, anchored)
        steps = np.arange(tokens.shape[0] + 1)
        return jax.vmap(self.read, (None, 0))(states, steps)

    @classmethod
    def of(cls, function):
        """Wraps `(tokens, length, perm) -> InsertionLogits` of every step [L + 1, ...]."""

        def encode(tokens, length, perm, anchored=None, key=None):
            del anchored, key
            return function(tokens, length, perm)

        def read(states, step):
            return jax.tree.map(lambda x: x[step], states)

        return cls(encode, read)


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
    """A way to train and to sample, as pure functions of ONE example.

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
      sample_times: as `sample`, but returns `(Canvas, Trace, times)`, `times` being a
        dict of float32[L]: when each token was inserted or revealed, by the model's
        clock. None where the steps of the trace are all there is.
      log_rates: `(params, example) -> dict` of float32[L], the learned order of the
        target's tokens as log-rates of exponential races, one for each kind of event:
        the higher a rate, the earlier its token tends to come. None where no order
        is learned.
    """

    init: Callable[..., Any]
    loss: Callable[..., Any]
    bound: Callable[..., Any]
    sample: Callable[..., Any]
    sample_times: Callable[..., Any] | None = None
    log_rates: Callable[..., Any] | None = None


class Score(NamedTuple):
    """One metric over N samples, as a ratio of sums: `sum(total) / sum(count)`.

    Attributes:
      total: float64[N].
      count: float64[N]; ones for a plain mean.
      is_rate: whether each total is a yes (1) or a no (0), of count 1, or of count 0
        where the question does not arise.
      is_own: whether an entry is of its own sample; if not, it may be of several
        together, and stand at the first.
    """

    total: np.ndarray
    count: np.ndarray
    is_rate: bool = False
    is_own: bool = True


class Distance(NamedTuple):
    """How far a set of samples is from real data: a number of the whole set.

    Attributes:
      value: NaN where the set is too small.
      num_samples: of which it is.
      floor: what real data reach at this number; None if it is not known.
    """

    value: float
    num_samples: int
    floor: float | None = None


class Comparison(NamedTuple):
    """N samples held against real data.

    Attributes:
      scores: of each sample, by name.
      distances: of the set, by name.
      missing: what could not be measured and the command that would help, a sentence
        each.
    """

    scores: dict[str, Score]
    distances: dict[str, Distance]
    missing: tuple[str, ...]


class Task(NamedTuple):
    """Data, vocabulary, metrics and pictures of one problem. Runs on the host.

    Attributes:
      name: for titles and messages.
      vocabulary: the text of each token id, specials first.
      prompt_length: C.
      max_length: L.
      load: `(split) -> Batch` of NumPy arrays with all examples of one of `splits`;
        `index` counts from 0.
      score: `(examples, tokens[N, L], length[N], stopped[N]) -> dict` from the
        metric's name to a `Score`; the first entry is the headline metric.
      parse_prompt: `(text) -> Batch` of one row from what a person types, with an
        empty target, or an answer where one can be computed; raises InputError that
        says what is wrong.
      format: `(tokens[L], length) -> str`, a generated sequence as text.
      draw: `(examples, tokens[N, L], length[N], step[N, L], path) -> None` writes a
        picture of N generated sequences side by side, `step[n, i]` being the step at
        which token i came.
      more_pictures: by file name, others of the same arguments, which return whether
        there was something to draw.
      settings: what the data decided of the config's section `task`, such as a
        vocabulary. Made with them, the task reads no data before a split is asked for.
      blank: `(count) -> Batch` of problems that give nothing, to sample without data;
        None where every problem gives something.
      compare: `(examples, tokens[N, L], length[N]) -> Comparison`, metrics that are
        too slow for training, or of a whole set; None for none.
      write: `(examples, tokens[N, L], length[N], step[N, L], columns, folder) -> paths`
        writes samples in the formats of their field; `columns` are further numbers,
        float[N] by name. None for none.
      places: `(examples, tokens[N, L], length[N]) -> dict` of float[N, L], where each
        token lies in the problem (a distance, say), NaN where this means nothing; by
        name, to be held against when it came.
      splits: "train", "validation", "test", and what there is beyond these.
      max_anchored: of any example to train on; None where the data decide.
      order_rank: `(example) -> int32[L]`, a pure function of one example (a `Batch`
        without its leading axis): the step at which each position is inserted in an
        order that the task prescribes; beyond the target it means nothing. None where
        the task has none.
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
    more_pictures: Mapping[str, Callable[..., bool]] = MappingProxyType({})
    settings: Mapping[str, Any] = MappingProxyType({})
    blank: Callable[[int], Batch] | None = None
    compare: Callable[..., Comparison] | None = None
    write: Callable[..., list[Any]] | None = None
    places: Callable[..., dict[str, np.ndarray]] | None = None
    splits: tuple[str, ...] = ("train", "validation", "test")
    max_anchored: int | None = None
    order_rank: Callable[[Batch], jax.Array] | None = None
