"""A sweep's file in W&B's format: what is varied, and the command that trains one trial."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_lab.errors import LabError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["Sweep", "read"]

METHODS = ("grid", "random", "bayes")
GOALS = ("minimize", "maximize")
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


@dataclass(frozen=True)
class Sweep:
    """What a sweep's file says.

    Attributes:
        path: The file.
        method: How parameters are chosen: grid, random or bayes.
        metric: What is sought the best of, a curve of `metrics.csv`.
        goal: minimize or maximize.
        command: The words of a trial's command, with W&B's macros.
        parameters: What each parameter may be.
        run_cap: How many trials there are, if the file says so.
        min_iter: Validations before a hopeless trial may be given up; None if none ever is.
        eta: After `min_iter` validations, and each `eta` times as many, the best 1 / eta go on.
        program: What the command calls.
    """

    path: Path
    method: str
    metric: str
    goal: str
    command: tuple[str, ...]
    parameters: dict[str, dict[str, Any]]
    run_cap: int | None
    min_iter: int | None
    eta: int
    program: str

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    @property
    def space(self) -> "dict[str, BaseDistribution]":
        """What the others are drawn from.

        Raises:
            LabError: If a parameter is not described as W&B would have it.
        """
        varied = {k: p for k, p in self.parameters.items() if "value" not in p}
        return {name: _distribution(name, given) for name, given in varied.items()}

    @property
    def points(self) -> list[dict[str, Any]]:
        """Every combination of a grid, the last parameter varying fastest.

        Raises:
            LabError: If a parameter has no end of values, or there are more than 1000 points.
        """
        axes = {name: _values(name, d) for name, d in self.space.items()}
        if math.prod(map(len, axes.values())) > GRID:
            raise LabError(
                f"{self.path}: the grid has more than {GRID} points; choose method random."
            )
        return [dict(zip(axes, point, strict=True)) for point in product(*axes.values())]

    def words(self, params: Mapping[str, Any]) -> list[str]:
        """Return the command of one trial, as W&B's agent would run it.

        Raises:
            LabError: If the command holds a macro that is not known here.
        """
        chosen = {k: params.get(k, given.get("value")) for k, given in self.parameters.items()}
        macros = {
            "${env}": ["/usr/bin/env"],
            "${program}": [self.program],
            "${args}": [f"--{name}={value}" for name, value in chosen.items()],
        }
        words = [word for c in self.command for word in macros.get(c, [c])]
        if unknown := [word for word in words if word.startswith("${")]:
            raise LabError(f"{self.path}: the command holds {unknown[0]}; use {' '.join(macros)}.")
        return words


def read(path: str | Path) -> Sweep:
    """Read a sweep's file.

    Raises:
        LabError: If there is none, or it lacks something or holds something unknown.
    """
    import yaml

    path = Path(path)
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabError(f"There is no sweep to read at {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LabError(f"{path} is not YAML, so it is no sweep.") from error
    given = given if isinstance(given, dict) else {}
    metric = given.get("metric")
    metric = metric if isinstance(metric, dict) else {}
    if not isinstance(parameters := given.get("parameters"), dict) or not parameters:
        raise LabError(f"{path} has no parameters, so there is nothing to sweep over.")
    if not isinstance(metric.get("name"), str):
        raise LabError(f"{path} names no metric; add metric: {{name: val/loss, goal: minimize}}.")
    if not isinstance(command := given.get("command"), list):
        raise LabError(f"{path} has no command such as [lab, fit, --config, FILE, ${{args}}].")
    cap = given.get("run_cap")
    return Sweep(
        path,
        _one_of(path, "method", given.get("method"), METHODS),
        metric["name"],
        _one_of(path, "goal", metric.get("goal", "minimize"), GOALS),
        tuple(map(str, command)),
        {name: _parameter(path, name, p) for name, p in parameters.items()},
        None if cap is None else _whole(path, "run_cap", cap, 1),
        *_hyperband(path, given.get("early_terminate")),
        str(given.get("program", "lab")),
    )


def _hyperband(path: Path, early: Any) -> tuple[int | None, int]:
    """Return `min_iter` and `eta`."""
    if early is None:
        return None, 3
    if not isinstance(early, dict) or early.get("type") != "hyperband":
        raise LabError(f"{path}: early_terminate needs type: hyperband, and a min_iter.")
    if extra := [str(key) for key in early if key not in ("type", "min_iter", "eta")]:
        raise LabError(
            f"{path}: early_terminate has {', '.join(extra)}, which only W&B itself goes by; "
            "say min_iter and eta instead, which W&B takes as well."
        )
    least = _whole(path, "early_terminate's min_iter", early.get("min_iter"), 1)
    return least, _whole(path, "early_terminate's eta", early.get("eta", 3), 2)


def _whole(path: Path, key: str, value: Any, least: int) -> int:
    if not _is_whole(value) or value < least:
        raise LabError(f"{path}: {key} is a whole number, at least {least}, not {value!r}.")
    return int(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _one_of(path: Path, key: str, value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise LabError(f"{path}: {key} is one of {', '.join(known)}, not {value!r}.")
    return str(value)


def _parameter(path: Path, name: str, given: Any) -> dict[str, Any]:
    """Return how a parameter is described, or say that it is not."""
    if not isinstance(given, dict) or not ("value" in given or _listed(given) or _limited(given)):
        raise LabError(f"{path}: {name} needs a value, values, or a min and a max.")
    if "probabilities" in given:
        raise LabError(f"{path}: {name} has probabilities, which only W&B itself can draw by.")
    kind = _one_of(
        path, f"{name}'s distribution", given.get("distribution", _kind(given)), (*DISTRIBUTIONS,)
    )
    if extra := [k for k in given if k not in ("distribution", *DISTRIBUTIONS[kind])]:
        raise LabError(f"{path}: {name} has {extra[0]}, which means nothing to {kind}.")
    return given


def _kind(given: dict[str, Any]) -> str:
    """Return the distribution that W&B takes where none is named."""
    if "value" in given:
        return "constant"
    if _listed(given):
        return "categorical"
    return "int_uniform" if _is_whole(given["min"]) and _is_whole(given["max"]) else "uniform"


def _listed(given: dict[str, Any]) -> bool:
    return isinstance(given.get("values"), list) and bool(given["values"])


def _limited(given: dict[str, Any]) -> bool:
    return _is_number(given.get("min")) and _is_number(given.get("max"))


def _distribution(name: str, given: dict[str, Any]) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if _listed(given):
        return CategoricalDistribution([_choice(value) for value in given["values"]])
    low, high, kind = given["min"], given["max"], given.get("distribution", _kind(given))
    try:
        if kind == "int_uniform":
            if not (_is_whole(low) and _is_whole(high)):
                raise ValueError("int_uniform needs a whole min and max.")
            return IntDistribution(low, high)
        if kind == "q_uniform":
            return _stepped(low, high, given.get("q", 1))
        if kind == "log_uniform":  # whose ends W&B gives as exponents
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
    """Return the multiples of q between two of them, whole numbers if q is one.

    W&B's server draws multiples of q, and its scheduler for Optuna steps from min: where they
    would differ, neither is guessed.

    Raises:
        ValueError: If q is no step, or an end none of its multiples.
    """
    from optuna.distributions import FloatDistribution, IntDistribution

    if not _is_number(q) or q <= 0:
        raise ValueError(f"q is a number above 0, not {q!r}.")
    if any(abs(math.remainder(end, q)) > 1e-9 * q for end in (low, high)):
        raise ValueError(f"q_uniform draws multiples of q: min and max must be multiples of {q}.")
    if _is_whole(q):
        return IntDistribution(round(low), round(high), step=q)
    return FloatDistribution(low, high, step=q)


def _choice(value: Any) -> Any:
    """Return what stands for a value among choices: lists and tables as they would be written."""
    return value if isinstance(value, str | int | float | None) else str(value)


def _values(name: str, distribution: "BaseDistribution") -> Sequence[Any]:
    """Return a parameter's values, no more of a range than make a grid too large."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)[: GRID + 1]
    raise LabError(f"A grid needs values; {name} has a min and a max: choose method random.")
