"""Checks of what a class or a verb is given, each refused by its own name in a LabError.

A number that is None was not given.
"""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from vae_lab.errors import LabError

__all__ = ["above_zero", "at_least", "below_one", "not_negative", "one_of"]


def at_least(least: int, **given: float | None) -> None:
    """Refuse what is below `least`."""
    _check(given, f"at least {least}", lambda value: value >= least)


def above_zero(**given: float | None) -> None:
    """Refuse what is no finite number above 0."""
    _check(given, "a finite number above 0", lambda value: 0 < value < math.inf)


def not_negative(**given: float | None) -> None:
    """Refuse what is negative or not finite."""
    _check(given, "finite and not negative", lambda value: 0 <= value < math.inf)


def below_one(**given: float | None) -> None:
    """Refuse what is no share of less than all."""
    _check(given, "between 0 and 1, 1 excluded", lambda value: 0 <= value < 1)


def one_of(choices: Collection[object], **given: object) -> None:
    """Refuse what is not among the choices, of which None may be one."""
    for name, value in given.items():
        if value not in choices:
            raise LabError(f"{name} is one of {', '.join(map(str, choices))}, not {value!r}.")


def _check(given: Mapping[str, Any], wanted: str, holds: Callable[[Any], bool]) -> None:
    for name, value in given.items():
        if value is not None and not holds(value):
            raise LabError(f"{name} is {wanted}; got {value}.")
