"""Checks of verbs' options; errors name the option."""

from collections.abc import Mapping
from pathlib import Path

from vae_lab import arguments
from vae_lab.errors import LabError

__all__ = ["above_zero", "at_least", "ends_in"]


def at_least(least: int, **options: int | None) -> None:
    """Refuse an option that is too small; None means not given.

    Raises:
        LabError: If one is too small.
    """
    arguments.at_least(least, **_given(options))


def above_zero(**options: float | None) -> None:
    """Refuse an option that is not a finite number above 0; None means not given.

    Raises:
        LabError: If one is not.
    """
    arguments.above_zero(**_given(options))


def ends_in(ending: str, **outputs: str | None) -> None:
    """Refuse a file with another suffix, as programs open files by their suffix.

    Raises:
        LabError: If one has another suffix.
    """
    for name, path in outputs.items():
        if path is not None and Path(path).suffix.lower() != ending:
            raise LabError(f"--{name} ends in {ending}; got {path!r}.")


def _given(options: Mapping[str, float | None]) -> dict[str, float]:
    return {f"--{name}": value for name, value in arguments.given(**options).items()}
