"""Random tables as policies, and oracles that enumerate with NumPy alone.

A state is a tuple of `(token, anchored)` pairs: a canvas as plain Python. The
oracles share no code with the package.
"""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from insertion_jax.core import trajectories
from insertion_jax.types import InsertionLogits, TrajectoryPolicy

# Compiles in half the time; what it makes runs long enough once only.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class Tables(NamedTuple):
    """Logits by the number of a state: `slot[S, L + 1]`, `stop[S]`, `token[S, L + 1, V]`."""

    slot: np.ndarray
    stop: np.ndarray
    token: np.ndarray


class Case(NamedTuple):
    """A target and what is known about it; `eos_id` selects EOS termination."""

    tokens: tuple
    length: int
    anchored: tuple | None = None
    closed: tuple | None = None
    eos_id: int | None = None

    @property
    def missing(self):
        """Positions to insert, as a list of booleans."""
        anchored = self.anchored or (False,) * len(self.tokens)
        return [i < self.length and not a for i, a in enumerate(anchored)]

    @property
    def options(self):
        """Keyword arguments that every function about a target takes."""
        closed = None if self.closed is None else jnp.asarray(self.closed)
        anchored = None if self.anchored is None else jnp.asarray(self.anchored)
        return {"anchored": anchored, "closed": closed, "eos_id": self.eos_id}

    @property
    def arrays(self):
        """`(tokens, length, anchored, closed)`, of the same shapes for all cases."""
        anchored = np.array(self.anchored or (False,) * len(self.tokens))
        closed = np.array(self.closed or (False,) * (len(self.tokens) + 1))
        return np.array(self.tokens), self.length, anchored, closed

    def state(self, included):
        """The canvas of the included positions."""
        flags = self.anchored or (False,) * len(self.tokens)
        rows = zip(self.tokens, flags, included, strict=True)
        return tuple((token, flag) for token, flag, here in rows if here)

    @property
    def start(self):
        """The canvas of the anchored tokens."""
        return self.state(self.anchored or (False,) * len(self.tokens))

    @property
    def target(self):
        """The finished canvas."""
        return self.state([i < self.length for i in range(len(self.tokens))])


# Vocabulary {0, 1, 2}, 2 being EOS where there is one; L = 4. Repeated tokens,
# garbage in the padding, anchors and closed gaps.
CASES = {
    "policy": Case((1, 0, 1, 1), 4),
    "policy-short": Case((2, 0, 2, 1), 3),
    "policy-empty": Case((2, 0, 2, 1), 0),
    "policy-anchored": Case((0, 0, 1, 0), 4, (False, True, False, False)),
    "policy-closed": Case(
        (1, 1, 0, 1), 4, (True, False, False, True), (True, False, True, False, True)
    ),
    "policy-all-anchored": Case((1, 0, 2, 2), 2, (True, True, False, False)),
    "eos": Case((1, 0, 0, 1), 4, eos_id=2),
    "eos-short": Case((0, 0, 2, 2), 2, eos_id=2),
    "eos-empty": Case((0, 0, 2, 2), 0, eos_id=2),
    "eos-closed": Case(
        (1, 0, 1, 1),
        4,
        (False, True, False, False),
        (False, False, True, True, True),
        2,
    ),
}
SIZE, VOCAB = 4, 3
NUM_HISTORIES = 499  # distinct ones may share a number, and so their logits


def random_tables(seed, size=SIZE, vocab=VOCAB, scale=1.5):
    """Independent normal logits for every state, float64."""
    rng = np.random.default_rng(seed)
    count = (2 * vocab + 1) ** size
    shapes = (count, size + 1), (count,), (count, size + 1, vocab)
    return Tables(*(scale * rng.normal(size=shape) for shape in shapes))


def policy_of(tables):
    """The policy that looks up its logits."""
    tables = Tables(*map(jnp.asarray, tables))
    size, vocab = tables.token.shape[1] - 1, tables.token.shape[2]

    def policy(canvas):
        digit = 1 + canvas.tokens
        if canvas.anchored is not None:
            digit += vocab * canvas.anchored
        digit = jnp.where(jnp.arange(size) < canvas.length, digit, 0)
        number = jnp.sum(digit * (2 * vocab + 1) ** np.arange(size))
        return InsertionLogits(*(table[number] for table in tables))

    return policy


def state_number(state, vocab=VOCAB):
    """The number under which `policy_of` finds a state."""
    return sum(
        (1 + token + vocab * flag) * (2 * vocab + 1) ** i
        for i, (token, flag) in enumerate(state)
    )


def softmax(logits):
    """Probabilities, in NumPy; `-inf` allowed."""
    weights = np.exp(logits - np.max(logits))
    return weights / weights.sum()


def history_of(start, steps=()):
    """The number under which `trajectory_policy_of` finds an order of insertions."""
    number = state_number(start) % NUM_HISTORIES
    for slot, token in steps:
        number = _extended(number, slot, token)
    return number


def _extended(number, slot, token):
    """The number of a history with one more insertion; later ones weigh otherwise."""
    return (31 * number + 17 * token + slot + 1) % NUM_HISTORIES


def random_histories(seed, size=SIZE, vocab=VOCAB, scale=1.5):
    """Independent normal logits for every history, float64."""
    rng = np.random.default_rng(seed)
    shapes = (size + 1,), (), (size + 1, vocab)
    return Tables(*(scale * rng.normal(size=(NUM_HISTORIES, *s)) for s in shapes))


def trajectory_policy_of(tables):
    """The `TrajectoryPolicy` that looks up its logits by the order of insertions."""
    tables = Tables(*map(jnp.asarray, tables))
    size, vocab = tables.token.shape[1] - 1, tables.token.shape[2]

    def begin(canvas):
        digit = 1 + canvas.tokens
        if canvas.anchored is not None:
            digit += vocab * canvas.anchored
        digit = jnp.where(jnp.arange(size) < canvas.length, digit, 0)
        return jnp.sum(digit * (2 * vocab + 1) ** np.arange(size)) % NUM_HISTORIES

    def encode(tokens, length, perm, anchored=None, key=None):
        del length, key
        tokens, perm = jnp.asarray(tokens), jnp.asarray(perm)
        included = jnp.zeros(size, bool) if anchored is None else anchored
        start = trajectories.canvas_of(tokens, included, anchored=anchored)

        def step(carry, position):
            number, included = carry
            slot = trajectories.slot_of(included)[position]
            after = _extended(number, slot, tokens[position])
            return (after, included.at[position].set(True)), number

        carry = begin(start), jnp.asarray(included)
        (last, _), numbers = jax.lax.scan(step, carry, perm)
        return jnp.append(numbers, last)

    def look(number):
        return (
            tables.slot[number],
            tables.stop[number],
            lambda z: tables.token[number, z],
        )

    def read(numbers, step):
        return InsertionLogits(*(table[numbers[step]] for table in tables))

    return TrajectoryPolicy(encode, read, begin, look, _extended)


def action_probs(
    tables,
    state,
    closed=None,
    eos_id=None,
    reshape=lambda probs: probs,
    number=None,
):
    """Probabilities of "stop" and of every `(slot, token)`.

    `reshape` changes the law of the location and that of the content, as a
    temperature or a nucleus does. `number` is that of a history, where the order
    of insertions matters.
    """
    vocab = tables.token.shape[2]
    number = state_number(state, vocab) if number is None else number
    size = len(state)
    gaps = [sum(flag for _, flag in state[:slot]) for slot in range(size + 1)]
    is_open = [closed is None or not closed[gap] for gap in gaps]
    location = np.where(is_open, tables.slot[number, : size + 1], -np.inf)
    if eos_id is None:
        location = np.append(location, tables.stop[number])
    location = reshape(softmax(location))
    probs = {"stop": 0.0 if eos_id is not None else location[size + 1]}
    for slot in range(size + 1):
        content = np.array(tables.token[number, slot])
        if eos_id is not None and slot < size:
            content[eos_id] = -np.inf
        for token, prob in enumerate(reshape(softmax(content))):
            action = "stop" if token == eos_id else (slot, token)
            probs[action] = probs.get(action, 0.0) + location[slot] * prob
    return probs


def outcomes(
    tables, start, max_length, closed=None, eos_id=None, *, histories=False, **options
):
    """Probabilities of `(final state, stopped)`, summed over all action sequences.

    With `histories`, the tables are those of `random_histories`.
    """
    finished = {}
    level = {(start, history_of(start) if histories else None): 1.0}
    while level:
        grown = {}
        for (state, number), mass in level.items():
            probs = action_probs(
                tables, state, closed, eos_id, number=number, **options
            )
            stop = mass * probs.pop("stop")
            finished[state, True] = finished.get((state, True), 0.0) + stop
            if len(state) == max_length:
                cut = finished.get((state, False), 0.0) + mass * sum(probs.values())
                finished[state, False] = cut
                continue
            for (slot, token), prob in probs.items():
                new = (*state[:slot], (token, False), *state[slot:])
                key = new, _extended(number, slot, token) if histories else None
                grown[key] = grown.get(key, 0.0) + mass * prob
        level = grown
    return finished


def orders(missing):
    """int[P, L], every order of the missing positions, all others last."""
    inside = [i for i, flag in enumerate(missing) if flag]
    outside = [i for i, flag in enumerate(missing) if not flag]
    perms = itertools.permutations(inside)
    return np.array([[*perm, *outside] for perm in perms], np.int32)


def order_log_prob(logits, picks, missing):
    """Log-probability under Plackett-Luce of a sequence of picks."""
    left = [i for i, flag in enumerate(missing) if flag]
    total = 0.0
    for pick in picks:
        total += logits[pick] - np.log(np.sum(np.exp([logits[i] for i in left])))
        left.remove(pick)
    return total


def trajectory_log_prob(tables, case, perm, histories=False):
    """Log-probability of writing the target in this order and of stopping.

    With `histories`, the tables are those of `random_histories`.
    """
    included = list(case.anchored or (False,) * len(case.tokens))
    total, steps = 0.0, []

    def probs_of(state):
        number = history_of(case.start, steps) if histories else None
        return action_probs(tables, state, case.closed, case.eos_id, number=number)

    for position in perm[: sum(case.missing)]:
        probs = probs_of(case.state(included))
        action = sum(included[:position]), case.tokens[position]
        total += np.log(probs[action])
        steps.append(action)
        included[position] = True
    return total + np.log(probs_of(case.target)["stop"])


def p_value(counts, probs):
    """Chi-squared p-value of counts; outcomes that are rare are put together."""
    counts, probs = np.asarray(counts, float), np.asarray(probs, float)
    expected = probs / probs.sum() * counts.sum()
    rare = expected < 5
    if np.any(counts[probs == 0]):
        return 0.0
    if rare.any():
        counts = np.append(counts[~rare], counts[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    kept = expected > 0
    if kept.sum() < 2:  # nothing to test
        return 1.0
    return stats.chisquare(counts[kept], expected[kept]).pvalue
