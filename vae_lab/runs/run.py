"""What one training run left in its folder."""

import csv
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from vae_lab.errors import LabError
from vae_lab.yaml_text import load_yaml

__all__ = ["Run"]

_AXES = ("step", "epoch", "images")

# What `run.json` says, where more is done with it than to be shown.
_RECORDED: dict[str, Any] = {
    "seconds": int | float,
    "versions": dict,
    "source_sha256": str | None,
    "listing": str | None,
}


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


def _read_text(path: Path) -> str:
    """Return what a file holds, nothing if it does not exist."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"Cannot read {path}: {error}.") from error
