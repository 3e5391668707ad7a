"""Runs a binary so that what was typed wrong is answered with one sentence.

absl and ml_collections tell of bad flags and bad configs in tracebacks or in Python's
words; here these become an `InputError`, and any `InputError` becomes the exit status.
"""

import pathlib
import re
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging
from ml_collections import ConfigDict

from insertion_jax.training.loop import NonFiniteLossError
from insertion_jax.types import InputError

# How the flags say that a value has the wrong type, and which one they want.
_EXPECTED = {
    "invalid literal for int()": "a whole number",
    "could not convert string to float": "a number",
    "('Non-boolean argument": "true or false",
    "Failed to parse": "a dict such as {'name': 1}",
}


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Parses the flags and calls `main(argv)`, argv being what is no flag.

    Errors of input, and a run that cannot go on, end the process with status 1 and
    one sentence on stderr; other errors are mistakes of ours and keep their traceback.
    """
    try:
        app.run(main, flags_parser=parse)
    except (InputError, NonFiniteLossError) as error:
        sys.exit(f"error: {error}")


def parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags, of which one, named config, is a config file.

    Args:
      argv: the command line; it is `sys.argv`, too, where overrides are looked up.

    Returns:
      What of it is no flag.

    Raises:
      InputError: says what is wrong and what is allowed.
    """
    path = _config_path(argv)
    if path is not None and not path.partition(":")[0].endswith(".py"):
        raise InputError(f"--config is {path!r}; it must name a Python file.")
    # Else jax tells at every start which accelerators it did not find.
    logging.set_verbosity(logging.WARNING)
    try:
        rest = flags.FLAGS(argv)
    # How the override of a field that does not exist fails. A config file may fail
    # like this by itself, and is then best served by a traceback.
    except (AttributeError, KeyError) as error:
        complaint = _missing_field(argv)
        if complaint is None:
            raise
        raise InputError(complaint) from error
    # What a file that cannot be read raises where a field of it is overridden.
    except OSError as error:
        raise InputError(_missing_file(argv)) from error
    except (flags.Error, TypeError, ValueError) as error:
        raise InputError(_sentence(error)) from error
    config = flags.FLAGS["config"].value
    # A file that cannot be read leaves a stand-in which fails when used.
    if config is not None and not isinstance(config, ConfigDict):
        raise InputError(_missing_file(argv))
    return rest


def _sentence(error):
    """What a person needs of an error of the flags."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    text = " ".join(str(error.args[0] if error.args else error).split())
    if "Traceback" in text:
        # The message of a config file comes last, behind where it was raised.
        return re.split(r"\b\w+Error: ", text)[-1]
    if field := re.match(r"Unknown command line flag '(config\..*?)'", text):
        return f"--{field[1]} needs a --config=FILE of which to change a field."
    for reason, expected in _EXPECTED.items():
        flag, found, _ = text.partition(reason)
        if found:
            return f"{flag}expected {expected}."
    return text if text.endswith((".", "?")) else f"{text}."


def _missing_field(argv):
    """The complaint about the first override of no field, None if there is none."""
    path = _config_path(argv)
    if path is None:
        return None
    config = flags.FLAGS["config"].parser.parse(path)
    for argument in argv:
        override = re.match(r"--?(?:no)?config\.([^=]+)", argument)
        section, above = config, "config"
        for name in override[1].split(".") if override else ():
            fields = list(section) if isinstance(section, ConfigDict) else []
            if name not in fields:
                return (
                    f"There is no --config.{override[1]}: {above} has "
                    f"{', '.join(fields) or 'no fields'}."
                )
            section, above = section[name], f"{above}.{name}"
    return None


def _missing_file(argv):
    path = pathlib.Path(_config_path(argv).partition(":")[0])
    found = sorted(file.name for file in path.parent.glob("*.py"))
    there = f"; {path.parent}/ has {', '.join(found)}" if found else ""
    return f"There is no config file {str(path)!r} to read{there}."


def _config_path(argv):
    """The value of --config as typed, None if it was not."""
    for argument, following in zip(argv, [*argv[1:], None], strict=True):
        if match := re.fullmatch(r"--?config(?:=(.*))?", argument):
            return following if match[1] is None else match[1]
    return None
