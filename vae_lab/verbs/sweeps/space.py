"""Parameters of a sweep: W&B's descriptions, and their distributions."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_lab.errors import LabError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["GRID", "described", "distribution", "is_whole", "one_of", "values", "written"]

DISTRIBUTIONS = {
    "constant": ("value",),
    "categorical": ("values",),
    "int_uniform": ("min", "max"),
    "uniform": ("min", "max"),
    "q_uniform": ("min", "max", "q"),
    "log_uniform": ("min", "max"),
    "log_uniform_values": ("min", "max"),
}
"""What each distribution is described by, as in W&B's schema."""

GRID = 1000
"""Points of a grid, at most: every one is queued before the first is trained."""


def one_of(path: Path, key: str, value: Any, known: tuple[str, ...]) -> str:
    """Return the value of a key, or refuse one that is not allowed."""
    if value not in known:
        raise LabError(f"{path}: {key} is one of {', '.join(known)}, not {value!r}.")
    return str(value)


def is_whole(value: Any) -> bool:
    """Return whether a value is an integer and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def described(path: Path, name: str, given: Any) -> dict[str, Any]:
    """Return the description of a parameter, or refuse one without."""
    needs = LabError(f"{path}: {name} needs a value, values, or a min and a max.")
    if not isinstance(given, dict):
        raise needs
    if "probabilities" in given:
        raise LabError(f"{path}: {name} has probabilities, which only W&B itself can draw by.")
    for end in ("min", "max"):
        if isinstance(given.get(end), str):
            raise LabError(
                f"{path}: {name}'s {end} is the text {given[end]!r} and no number, as is 1e-5, "
                "which YAML takes for one as 1.0e-5."
            )
    if "distribution" in given:
        one_of(path, f"{name}'s distribution", given["distribution"], (*DISTRIBUTIONS,))
    if not ("value" in given or _listed(given) or _limited(given)):
        raise needs
    kind = given.get("distribution", _kind(given))
    if extra := [k for k in given if k not in ("distribution", *DISTRIBUTIONS[kind])]:
        raise LabError(f"{path}: {name} has {extra[0]}, which means nothing to {kind}.")
    return given


def _kind(given: dict[str, Any]) -> str:
    """Return W&B's default distribution of a description."""
    if "value" in given:
        return "constant"
    if _listed(given):
        return "categorical"
    return "int_uniform" if is_whole(given["min"]) and is_whole(given["max"]) else "uniform"


def _listed(given: dict[str, Any]) -> bool:
    return isinstance(given.get("values"), list) and bool(given["values"])


def _limited(given: dict[str, Any]) -> bool:
    return _is_number(given.get("min")) and _is_number(given.get("max"))


def distribution(name: str, given: dict[str, Any]) -> "BaseDistribution":
    """Return the distribution of a parameter.

    Raises:
        LabError: If its bounds do not fit together.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if _listed(given):
        return CategoricalDistribution([_choice(value) for value in given["values"]])
    low, high, kind = given["min"], given["max"], given.get("distribution", _kind(given))
    try:
        if kind == "int_uniform":
            if not (is_whole(low) and is_whole(high)):
                raise ValueError("int_uniform needs a whole min and max.")
            return IntDistribution(low, high)
        if kind == "q_uniform":
            return _stepped(low, high, given.get("q", 1))
        if kind == "log_uniform":  # whose bounds W&B gives as exponents
            return FloatDistribution(math.exp(low), math.exp(high), log=True)
        return FloatDistribution(low, high, log=kind == "log_uniform_values")
    except OverflowError as error:
        raise LabError(
            f"{name}: min or max is too large for {kind}; log_uniform takes exponents of e, "
            "log_uniform_values the ends themselves."
        ) from error
    except ValueError as error:
        raise LabError(f"{name}: {error}") from error


def _stepped(low: float, high: float, q: Any) -> "BaseDistribution":
    """Return the multiples of q from one bound to the other, integers if q is one.

    W&B's server draws multiples of q, its scheduler for Optuna takes steps from min. If the two
    would differ, the parameter is refused.

    Raises:
        ValueError: If q is not a step, or a bound is not a multiple of it.
    """
    from optuna.distributions import FloatDistribution, IntDistribution

    if not _is_number(q) or q <= 0:
        raise ValueError(f"q is a number above 0, not {q!r}.")
    if any(abs(math.remainder(end, q)) > 1e-9 * q for end in (low, high)):
        raise ValueError(f"q_uniform draws multiples of q: min and max must be multiples of {q}.")
    if is_whole(q):
        return IntDistribution(round(low), round(high), step=q)
    return FloatDistribution(low, high, step=q)


def _choice(value: Any) -> Any:
    """Return a value's form among choices, with lists and mappings as text."""
    return value if isinstance(value, str | int | float | None) else written(value)


def written(value: Any) -> str:
    """Return a value as W&B writes it, except None, which is null on the command line."""
    return str(value) if isinstance(value, str | bool) else json.dumps(value, default=str)


def values(name: str, distribution: "BaseDistribution") -> Sequence[Any]:
    """Return a parameter's values, of a range at most as many as a grid may have.

    Raises:
        LabError: If there are infinitely many.
    """
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)[: GRID + 1]
    raise LabError(f"A grid needs values; {name} has a min and a max: choose method random.")
