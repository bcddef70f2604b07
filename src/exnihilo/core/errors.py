"""The user's mistakes, told in one or two lines: what was given, what is allowed, what to type next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

SHOWN = 12  # models named in one message


class ExnihiloError(Exception):
    """A mistake of the user, not of the program: the shell prints its text and exits with 2."""


class ModelError(ExnihiloError):
    """There is no such recipe, or it cannot be built for this data."""


class OptionError(ExnihiloError):
    """An option has a wrong name, type or value."""


class DataError(ExnihiloError):
    """A source cannot be found, read or used; names the file, row or column."""


class RunError(ExnihiloError):
    """A run folder is missing, altered, foreign or in the way."""


class TrainingError(ExnihiloError):
    """Training cannot go on, and says why and what to try."""


class Unsupported(ExnihiloError):
    """The model lacks a capability; names models that have it."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`" Did you mean 'wgan_gp'?"` for the nearest of the choices, or nothing."""
    names = list(choices)
    plain = {name.lower().replace("-", "_"): name for name in names}
    near = get_close_matches(word.lower().replace("-", "_"), plain, n=1, cutoff=0.6)
    return f" Did you mean {plain[near[0]]!r}?" if near else ""


def listing(choices: Iterable[object]) -> str:
    """The choices as a person would list them: `a, b, c`."""
    return ", ".join(str(choice) for choice in choices) or "(none)"


def some_models(names: Sequence[str]) -> str:
    """A few of many models, and where all are: `a, b, c and 40 others (exnihilo models)`."""
    rest = len(names) - SHOWN
    return listing(names) if rest <= 1 else f"{listing(names[:SHOWN])} and {rest} others (`exnihilo models`)"
