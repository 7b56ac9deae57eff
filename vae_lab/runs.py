"""Run folders: find one, read what it recorded, load its model and data back.

A run folder `runs/<experiment>/<version>/` holds `config.yaml`, `checkpoints/{best,last}.ckpt`,
`metrics.csv`, `pictures/<kind>_<epoch>.png` and, after an evaluation, `metrics.json`. Nothing here
imports torch until a checkpoint is loaded.
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from glob import glob
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from vae_lab import checkpoints
from vae_lab.errors import LabError
from vae_lab.files import load_yaml

if TYPE_CHECKING:
    from lightning import LightningModule

    from vae_lab.contracts import Images

__all__ = [
    "Run",
    "by_name",
    "check",
    "check_exists",
    "checkpoint_of",
    "expand",
    "find",
    "find_all",
    "load_data",
    "load_model",
    "missing",
    "named",
    "version_of",
]

Found = TypeVar("Found")

_MARKS = ("config.yaml", "checkpoints", "metrics.csv")
_AXES = ("step", "epoch", "images")
# The folder of what is named without one, by the name's suffix.
_USUAL = {"": Path("runs"), ".yaml": Path("experiments")}

# What `run.json` says, where more is done with it than to be shown.
_RECORDED: dict[str, Any] = {"seconds": int | float, "versions": dict, "source_sha256": str | None}


@dataclass(frozen=True)
class Run:
    """What one training run left in its folder.

    Attributes:
        path: The run folder.
    """

    path: Path

    @property
    def name(self) -> str:
        """Experiment and version."""
        path = self.path.resolve()
        return f"{path.parent.name}/{path.name}"

    @cached_property
    def config(self) -> dict[str, Any]:
        """The settings, as in `config.yaml`; empty if the run has none."""
        import yaml

        path = self.path / "config.yaml"
        text = _read_text(path)
        try:
            return dict(load_yaml(text) or {})
        except (yaml.YAMLError, TypeError, ValueError) as error:
            raise LabError(f"{path} is not a configuration; mend it or move it away.") from error

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """`metrics.json`: the `protocol` of each split evaluated so far, and the `metrics`."""
        path = self.path / "metrics.json"
        try:
            report = json.loads(_read_text(path) or '{"protocol": {}, "metrics": {}}')
            for entry in report["metrics"].values():
                float(entry["value"])
            protocols = {split: dict(entry) for split, entry in report["protocol"].items()}
            return {"protocol": protocols, "metrics": dict(report["metrics"])}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"{path} is not an evaluation; delete it and run `lab evaluate` again."
            raise LabError(message) from error

    @property
    def record(self) -> dict[str, Any]:
        """`run.json`: what the run was made with and what it cost, as far as it can be read."""
        with suppress(OSError, ValueError, AttributeError):
            found = json.loads((self.path / "run.json").read_text("utf-8"))
            return {k: v for k, v in found.items() if isinstance(v, _RECORDED.get(k, object))}
        return {}

    @property
    def finished(self) -> bool:
        """Whether training came to its end."""
        return self.record.get("finished") is True

    @property
    def scores(self) -> dict[str, float]:
        """The value of each metric of `metrics.json`."""
        return {key: float(entry["value"]) for key, entry in self.evaluation["metrics"].items()}

    def curves(self, axis: str = "step") -> dict[str, list[tuple[float, float]]]:
        """Read each metric's (position, value) pairs from `metrics.csv`, in order.

        Args:
            axis: What gives the position: `step`, or `images` seen.
        """
        curves: dict[str, list[tuple[float, float]]] = {}
        for row in self.rows:
            for key in row.keys() - set(_AXES) if axis in row else ():
                curve = curves.setdefault(key, [])
                # A run that was killed and resumed repeats the steps since its last checkpoint.
                while curve and curve[-1][0] >= row[axis]:
                    curve.pop()
                curve.append((row[axis], row[key]))
        return curves

    @cached_property
    def rows(self) -> list[dict[str, float]]:
        """What `metrics.csv` says in each row, empty cells left out."""
        path = self.path / "metrics.csv"
        # A line without its end was cut off by a kill, maybe in the middle of a number.
        lines = [line for line in _read_text(path).splitlines(keepends=True) if line[-1] == "\n"]
        try:
            return [
                {key: float(cell) for key, cell in row.items() if cell}
                for row in csv.DictReader(lines)
            ]
        except (ValueError, TypeError, csv.Error) as error:
            raise LabError(f"{path} is damaged: {error}.") from error

    @property
    def seen(self) -> tuple[float, float]:
        """How many epochs were begun, and how many images were learned from."""
        epochs = max((row["epoch"] + 1 for row in self.rows if "epoch" in row), default=0.0)
        images = max((row["images"] for row in self.rows if "images" in row), default=0.0)
        return epochs, images

    @cached_property
    def epoch_ends(self) -> dict[int, int]:
        """At which step each epoch ended, counted from 1 as pictures are."""
        ends: dict[int, int] = {}
        for row in self.rows:
            if "epoch" in row and "step" in row:
                epoch = int(row["epoch"]) + 1
                ends[epoch] = max(ends.get(epoch, 0), int(row["step"]))
        return ends

    @property
    def drawn(self) -> dict[str, dict[int, Path]]:
        """Every picture of each kind, by its epoch."""
        kinds: dict[str, dict[int, Path]] = {}
        for path in sorted((self.path / "pictures").glob("*.png")):
            if found := re.fullmatch(r"(.+)_(\d+)", path.stem):
                kinds.setdefault(found[1], {})[int(found[2])] = path
        return kinds

    @property
    def pictures(self) -> dict[str, Path]:
        """The latest picture of each kind."""
        return {kind: paths[max(paths)] for kind, paths in self.drawn.items()}

    def checkpoint(self, which: Literal["best", "last"] = "best") -> Path:
        """Return the wanted checkpoint, or the other one if that is all there is.

        Raises:
            LabError: If there is none yet.
        """
        for name in (which, "best", "last"):
            path = self.path / "checkpoints" / f"{name}.ckpt"
            if path.is_file():
                return path
        raise LabError(f"The run {self.path} has no checkpoint yet; let it train for an epoch.")


def find(path: str | Path) -> Run:
    """Find a run by its folder, its experiment's folder (the newest version) or a checkpoint.

    Raises:
        LabError: If there is no such run.
    """
    path = Path(path)
    if path.is_file():
        for folder in path.resolve().parents[:2]:
            if _is_run(folder):
                return Run(folder)
        raise LabError(f"{path} does not lie in a run folder.")
    return max(_runs_in(path, depth=1), key=lambda run: _age(run.path))


def find_all(path: str | Path) -> list[Run]:
    """Find a run by its folder, or all runs of an experiment's folder or of a folder of those.

    Raises:
        LabError: If there is none.
    """
    path = Path(path)
    return [find(path)] if path.is_file() else _runs_in(path, depth=2)


def expand(patterns: Iterable[str]) -> list[Run]:
    """Find the runs of all that is named, by itself or by a pattern such as `runs/**`, each once.

    Raises:
        LabError: If something named holds no run.
    """
    found: dict[Path, Run] = {}
    for pattern in patterns:
        if Path(pattern).exists():
            groups = [find_all(pattern)]
        else:
            groups = [runs for _, runs in _matching(pattern, find_all)]
        for run in chain(*groups):
            found.setdefault(run.path.resolve(), run)
    return list(found.values())


def check(patterns: Iterable[str]) -> None:
    """Refuse what cannot be a run, before anything slow is done.

    Raises:
        LabError: If a path does not exist or is a file of settings, or nothing matches a pattern.
    """
    for pattern in patterns:
        check_exists(pattern)
        if pattern.endswith((".yaml", ".yml")) and Path(pattern).is_file():
            raise LabError(
                f"{pattern} holds settings, not a run; `lab fit --config FILE` makes a run of an "
                "experiment's."
            )


def check_exists(pattern: str) -> None:
    """Refuse a path that does not exist, and a pattern that matches nothing.

    Raises:
        LabError: If it is one.
    """
    if not Path(pattern).exists() and not glob(pattern, recursive=True):
        raise missing(Path(pattern))


def named(patterns: Iterable[str]) -> list[str]:
    """Replace each pattern by the folders of runs and experiments that it matches, each once.

    Raises:
        LabError: If a pattern matches none.
    """
    return [name for pattern in patterns for name in _named(pattern)]


def _named(pattern: str) -> list[str]:
    if Path(pattern).exists():
        return [pattern]
    found: dict[Path, str] = {}
    for path, run in _matching(pattern, find):
        found.setdefault(run.path.resolve(), str(path))
    return list(found.values())


def _matching(pattern: str, look: Callable[[Path], Found]) -> list[tuple[Path, Found]]:
    """Return the paths that a pattern matches, with what `look` finds there, if it finds runs."""
    paths = sorted(map(Path, glob(pattern, recursive=True)), key=by_name)
    if not paths:
        raise missing(Path(pattern))
    found = []
    for path in paths:
        # The pattern also matches what a sweep writes beside its runs, or a run within its folder.
        with suppress(LabError):
            found.append((path, look(path)))
    if not found:
        raise LabError(f"{pattern} matches no run; `lab fit --config FILE` makes one.")
    return found


def _runs_in(path: Path, depth: int) -> list[Run]:
    if not path.exists():
        raise missing(path)
    if runs := [Run(folder) for folder in _folders(path, depth)]:
        return runs
    if deeper := next(_folders(path, depth + 1), None):
        raise LabError(f"{path} holds experiments, not runs; name one, such as {deeper.parent}.")
    raise LabError(f"{path} holds no run; `lab fit --config FILE` makes one.")


def _folders(path: Path, depth: int) -> Iterator[Path]:
    if _is_run(path):
        yield path
    elif depth:
        for child in sorted((p for p in path.iterdir() if p.is_dir()), key=by_name):
            yield from _folders(child, depth - 1)


def _is_run(path: Path) -> bool:
    return any((path / mark).exists() for mark in _MARKS)


def by_name(path: str | Path) -> list[str | int]:
    """Order 9 before 10."""
    return [int(t) if t.isdecimal() else t for t in re.split(r"(\d+)", str(path))]


def _age(path: Path) -> tuple[int, float, str]:
    """Order versions by their number, as copying changes dates; named ones by date, after them."""
    number = version_of(path)
    return (1, path.stat().st_mtime, path.name) if number is None else (0, number, "")


def version_of(path: Path) -> int | None:
    """Return the number in a run folder's name, or None if it has another name."""
    number = re.fullmatch(r"version_(\d+)", path.name)
    return int(number[1]) if number else None


def missing(path: Path, usual: Path | None = None) -> LabError:
    """Name what the user may have meant by a path that does not exist.

    Args:
        path: The path.
        usual: The folder that such files lie in, by default that of the path's suffix.
    """
    there = (usual or _USUAL.get(path.suffix, Path())) / path
    # A bare name hardly means what happens to lie in the current folder.
    first, second = (there, path) if path.name == str(path) else (path, there)
    near = _near(first) or _near(second)
    return LabError(
        f"There is no {path}" + (f"; did you mean {' or '.join(near)}?" if near else ".")
    )


def _near(path: Path) -> list[str]:
    """Return a path if it exists, else those whose names are close to its first missing part."""
    if path.exists():
        return [str(path)]
    while not path.parent.exists():
        path = path.parent
    names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    return [str(path.parent / name) for name in get_close_matches(path.name, names)]


def _read_text(path: Path) -> str:
    """Return what a file holds, nothing if it does not exist."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"Cannot read {path}: {error}.") from error


def checkpoint_of(path: str | Path, which: Literal["best", "last"] = "best") -> Path:
    """Find a checkpoint by itself, or by its run or experiment as `find` and `Run.checkpoint` do.

    Raises:
        LabError: If there is none.
    """
    path = Path(path)
    if path.suffix == ".ckpt" and not path.exists():
        raise missing(path)
    return path if path.is_file() else find(path).checkpoint(which)


def load_model(path: str | Path) -> "LightningModule":
    """Load a model on the CPU, in evaluation mode, from a run or a checkpoint.

    Raises:
        LabError: If there is no checkpoint, or it is damaged, foreign or unsafe.
    """
    from lightning import LightningModule

    return checkpoints.load(LightningModule, checkpoint_of(path)).eval()


def load_data(path: str | Path) -> "Images":
    """Load the data module that a model was trained with, from a run or a checkpoint.

    Raises:
        LabError: If there is no checkpoint, or it is damaged, foreign or unsafe.
    """
    return cast("Images", checkpoints.load_data(checkpoint_of(path)))
