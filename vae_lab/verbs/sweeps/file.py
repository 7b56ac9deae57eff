"""A sweep file in W&B's format: the parameters, and the command that trains one trial."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_lab.errors import LabError
from vae_lab.files import digest, expanded
from vae_lab.runs import missing
from vae_lab.verbs.sweeps.space import (
    GRID,
    described,
    distribution,
    is_whole,
    one_of,
    values,
    written,
)
from vae_lab.words import followed
from vae_lab.yaml_text import read_yaml

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["Sweep", "read"]

METHODS = ("grid", "random", "bayes")
GOALS = ("minimize", "maximize")


@dataclass(frozen=True)
class Sweep:
    """The content of a sweep file.

    Attributes:
        path: The file.
        method: How parameters are chosen: grid, random or bayes.
        metric: The metric to optimise, a curve of `metrics.csv`.
        goal: minimize or maximize.
        command: The words of a trial's command, with W&B's macros.
        parameters: The description of each parameter.
        run_cap: Number of trials, if given.
        min_iter: Validations before a trial may be stopped early; None disables it.
        eta: After `min_iter` validations, and each `eta` times as many, the best 1 / eta go on.
        program: The program of the command.
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
        """The distributions of the varied parameters.

        Raises:
            LabError: If the description of a parameter is not in W&B's format.
        """
        varied = {k: p for k, p in self.parameters.items() if "value" not in p}
        return {name: distribution(name, given) for name, given in varied.items()}

    @property
    def points(self) -> list[dict[str, Any]]:
        """Every combination of a grid, the last parameter varying fastest.

        Raises:
            LabError: If a parameter has infinitely many values, or there are more than 1000 points.
        """
        axes = {name: values(name, d) for name, d in self.space.items()}
        if math.prod(map(len, axes.values())) > GRID:
            raise LabError(
                f"{self.path}: the grid has more than {GRID} points; choose method random."
            )
        return [dict(zip(axes, point, strict=True)) for point in product(*axes.values())]

    @property
    def configs(self) -> dict[str, str]:
        """The digest of each file that `--config` names in the command or as a parameter.

        Raises:
            LabError: If such a file cannot be read.
        """
        varied = self.parameters.get("config", {})
        chosen = (f"--config={v}" for v in varied.get("values", [varied.get("value", "")]))
        named = followed((*self.command, *chosen))
        paths = {v: Path(v).expanduser() for option, v in named if option in ("-c", "--config")}
        # `--config` also takes settings; a missing file is reported by the trial.
        return {value: digest(path) for value, path in paths.items() if os.path.isfile(path)}

    def words(self, params: Mapping[str, Any]) -> list[str]:
        """Return the command of one trial, as W&B's agent would run it.

        Raises:
            LabError: If the command has an unknown macro.
        """
        chosen = {k: params.get(k, given.get("value")) for k, given in self.parameters.items()}
        macros = {
            "${env}": ["/usr/bin/env"],
            "${program}": [self.program],
            "${args}": [f"--{name}={written(value)}" for name, value in chosen.items()],
        }
        words = [word for c in self.command for word in macros.get(c, [c])]
        if unknown := [word for word in words if word.startswith("${")]:
            raise LabError(f"{self.path}: the command holds {unknown[0]}; use {' '.join(macros)}.")
        return words


def read(path: str | Path) -> Sweep:
    """Read a sweep file.

    Raises:
        LabError: If there is none, its name cannot be that of a folder, or its content is
            incomplete or invalid.
    """
    path = Path(path)
    given = _mapping(_loaded(path))
    metric = _mapping(given.get("metric"))
    if not isinstance(parameters := given.get("parameters"), dict) or not parameters:
        raise LabError(f"{path} has no parameters, so there is nothing to sweep over.")
    if not isinstance(metric.get("name"), str):
        raise LabError(f"{path} names no metric; add metric: {{name: val/loss, goal: minimize}}.")
    if not isinstance(command := given.get("command"), list):
        raise LabError(f"{path} has no command such as [lab, fit, --config, FILE, ${{args}}].")
    cap = given.get("run_cap")
    return Sweep(
        path,
        one_of(path, "method", given.get("method"), METHODS),
        metric["name"],
        one_of(path, "goal", metric.get("goal", "minimize"), GOALS),
        tuple(map(str, command)),
        {str(name): described(path, name, p) for name, p in parameters.items()},
        None if cap is None else _whole(path, "run_cap", cap, 1),
        *_hyperband(path, given.get("early_terminate")),
        str(given.get("program", "lab")),
    )


def _loaded(path: Path) -> object:
    # Trials would expand variables in the name again, and write to another folder.
    if str(expanded(path.stem)) != path.stem:
        raise LabError(
            f"{path} names the folder of its runs, and {path.stem!r} is none; rename it."
        )
    try:
        return read_yaml(path)
    except FileNotFoundError as error:
        raise missing(path, Path("experiments/sweeps")) from error
    except OSError as error:
        raise LabError(f"There is no sweep to read at {path}: {error.strerror}.") from error


def _mapping(value: object) -> dict[Any, Any]:
    """Return a mapping, or an empty one if the value is anything else."""
    return value if isinstance(value, dict) else {}


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
    if not is_whole(value) or value < least:
        raise LabError(f"{path}: {key} is a whole number, at least {least}, not {value!r}.")
    return int(value)
