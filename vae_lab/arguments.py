"""Checks of what a class or a verb is given, each refused by its own name in a LabError."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from vae_lab.errors import LabError

__all__ = ["above_zero", "at_least", "below_one", "given", "not_negative", "one_of"]


def given(**numbers: float | None) -> dict[str, float]:
    """Return those that are not None, for the checks of what may be left out."""
    return {name: number for name, number in numbers.items() if number is not None}


def at_least(least: int, **numbers: float) -> None:
    """Refuse what is below `least`.

    Raises:
        LabError: If one of the numbers is.
    """
    _check(numbers, f"at least {least}", lambda value: value >= least)


def above_zero(**numbers: float) -> None:
    """Refuse what is no finite number above 0.

    Raises:
        LabError: If one of the numbers is.
    """
    _check(numbers, "a finite number above 0", lambda value: 0 < value < math.inf)


def not_negative(**numbers: float) -> None:
    """Refuse what is negative or not finite.

    Raises:
        LabError: If one of the numbers is.
    """
    _check(numbers, "finite and not negative", lambda value: 0 <= value < math.inf)


def below_one(**numbers: float) -> None:
    """Refuse what is no share of less than all.

    Raises:
        LabError: If one of the numbers is.
    """
    _check(numbers, "between 0 and 1, 1 excluded", lambda value: 0 <= value < 1)


def one_of(choices: Collection[object], **chosen: object) -> None:
    """Refuse what is not among the choices, of which None may be one.

    Raises:
        LabError: If one of what is chosen is not.
    """
    for name, value in chosen.items():
        if value not in choices:
            raise LabError(f"{name} is one of {', '.join(map(str, choices))}, not {value!r}.")


def _check(numbers: Mapping[str, Any], wanted: str, holds: Callable[[Any], bool]) -> None:
    for name, value in numbers.items():
        # jsonargparse lets null pass for any setting of a class.
        if value is None or not holds(value):
            raise LabError(f"{name} is {wanted}; got {value}.")
