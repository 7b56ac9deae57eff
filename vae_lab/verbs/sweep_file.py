"""A sweep's file in W&B's format: what is varied, and the command that trains one trial."""

import math
from collections.abc import Mapping
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
DISTRIBUTIONS = (
    *("constant", "categorical", "int_uniform", "uniform", "q_uniform"),
    *("log_uniform", "log_uniform_values"),
)


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
    program: str = "lab"

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    @property
    def constants(self) -> dict[str, Any]:
        """The parameters of one value."""
        return {k: p["value"] for k, p in self.parameters.items() if "value" in p}

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
            LabError: If a parameter has no end of values.
        """
        axes = {name: _values(name, d) for name, d in self.space.items()}
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
    early = given.get("early_terminate")
    return Sweep(
        path,
        _one_of(path, "method", given.get("method"), METHODS),
        metric["name"],
        _one_of(path, "goal", metric.get("goal", "minimize"), GOALS),
        tuple(map(str, command)),
        {name: _parameter(path, name, p) for name, p in parameters.items()},
        given.get("run_cap"),
        int(early.get("min_iter", 1)) if isinstance(early, dict) else None,
        program=str(given.get("program", "lab")),
    )


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
    _one_of(path, f"{name}'s distribution", given.get("distribution", "constant"), DISTRIBUTIONS)
    return given


def _listed(given: dict[str, Any]) -> bool:
    return isinstance(given.get("values"), list) and bool(given["values"])


def _limited(given: dict[str, Any]) -> bool:
    ends = (given.get("min"), given.get("max"))
    return all(isinstance(end, int | float) and math.isfinite(end) for end in ends)


def _distribution(name: str, given: dict[str, Any]) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if _listed(given):
        return CategoricalDistribution([_choice(value) for value in given["values"]])
    low, high = given["min"], given["max"]
    whole = isinstance(low, int) and isinstance(high, int)
    kind = given.get("distribution", "int_uniform" if whole else "uniform")
    try:
        if kind == "int_uniform":
            return IntDistribution(low, high)
        if kind == "log_uniform":  # whose ends W&B gives as exponents
            return FloatDistribution(math.exp(low), math.exp(high), log=True)
        step = given.get("q", 1.0) if kind == "q_uniform" else None
        return FloatDistribution(low, high, log=kind == "log_uniform_values", step=step)
    except ValueError as error:
        raise LabError(f"{name}: {error}") from error


def _choice(value: Any) -> Any:
    """Return what stands for a value among choices: lists and tables as they would be written."""
    return value if isinstance(value, str | int | float | None) else str(value)


def _values(name: str, distribution: "BaseDistribution") -> list[Any]:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return list(range(distribution.low, distribution.high + 1, distribution.step))
    raise LabError(f"A grid needs values; {name} has a min and a max: choose method random.")
