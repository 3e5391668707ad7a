"""SMILES as tokens, without loss: an atom, a bond, a ring label, a parenthesis.

Bracket atoms are one token each, so are `Br` and `Cl`, ring labels of two digits
(`%12`) and the attachment labels of bracket SAFE (`<3>`, see `safe`).
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from insertion_jax.types import NUM_SPECIALS, InputError

SPECIALS = ("<pad>", "<bos>", "<eos>")

_TOKEN = re.compile(
    r"\[[!-Z\\^-~]+\]"  # ASCII, no blanks
    r"|Br|Cl|[BCNOPSFIbcnops*]"
    r"|%\(\d+\)|%\d\d|\d"
    r"|->|<-|[-=#$:/\\~]"
    r"|[().]"
    r"|<\d+>"
)


def tokenize(text: str) -> list[str]:
    """Splits a SMILES or bracket-SAFE string; whether it is a molecule is not asked.

    Args:
      text: without blanks.

    Returns:
      Tokens that, joined, are `text`.

    Raises:
      InputError: a character is no part of a token; says which and where.
    """
    tokens = _TOKEN.findall(text)
    if sum(map(len, tokens)) != len(text):
        position = _first_gap(text)
        raise InputError(
            f"The character {text[position]!r} at position {position} of {text!r} is "
            "not part of a SMILES token."
        )
    return tokens


def _first_gap(text):
    end = 0
    for match in _TOKEN.finditer(text):
        if match.start() != end:
            break
        end = match.end()
    return end


def kind(token: str) -> str:
    """What a token is: "atom", "bond", "ring", "parenthesis", "dot" or "attachment".

    A digit inside a bracket atom is part of an atom; on the text of a molecule the
    two kinds of digits could not be told apart.

    Args:
      token: of `tokenize`.
    """
    if token in "()":
        return "parenthesis"
    if token == ".":
        return "dot"
    if token[0].isdigit() or token[0] == "%":
        return "ring"
    if token[0] == "<" and token != "<-":
        return "attachment"
    return "atom" if token[0] in "[*" or token[0].isalpha() else "bond"


def ring_label(number: int) -> str:
    """A ring label as SMILES writes it: 7, %12, %(123)."""
    if number < 10:
        return str(number)
    return f"%{number}" if number < 100 else f"%({number})"


class Vocabulary(NamedTuple):
    """Token ids: PAD, BOS and EOS (0, 1, 2), then the tokens of some strings.

    Attributes:
      tokens: the text of each id.
      ids: the id of each text.
    """

    tokens: tuple[str, ...]
    ids: dict[str, int]

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """Ids of tokens.

        Raises:
          InputError: names a token outside the vocabulary.
        """
        try:
            return [self.ids[token] for token in tokens]
        except KeyError as error:
            known = " ".join(self.tokens[NUM_SPECIALS:])
            raise InputError(
                f"The token {error.args[0]!r} of {''.join(tokens)!r} is not in the "
                f"vocabulary, which has {known}."
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """The string of ids; specials are written out, as no molecule has them.

        Raises:
          InputError: names an id outside the vocabulary.
        """
        ids = [int(i) for i in ids]
        for i in ids:
            if not 0 <= i < len(self.tokens):
                raise InputError(
                    f"The token id {i} does not exist: ids are 0 to "
                    f"{len(self.tokens) - 1}."
                )
        return "".join(self.tokens[i] for i in ids)


def vocabulary(tokens: Iterable[str]) -> Vocabulary:
    """A vocabulary from its tokens, in any order and any number of times.

    Args:
      tokens: without the specials.

    Returns:
      The vocabulary; tokens are sorted, so that it depends on their set alone.
    """
    names = SPECIALS + tuple(sorted(set(tokens)))
    return Vocabulary(names, {name: i for i, name in enumerate(names)})
