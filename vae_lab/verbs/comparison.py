"""What differs between runs and how they score: the numbers behind `lab compare`."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from vae_lab.errors import LabError
from vae_lab.runs import Run

__all__ = ["Column", "Comparison", "differences", "direction", "order", "protocols", "settings"]

# Where a run lies and who logs it are no settings of the experiment.
_BOOKKEEPING = ("config", "name", "runs", "wandb", "ckpt_path", "trainer.logger", "pictures")
# What an evaluation was run with that leaves its numbers comparable.
_TOOLS = ("checkpoint", "checkpoint_sha256", "commit", "torch", "device", "threads", "seconds")
# Numbers of different images cannot be ranked: what tells those apart in an evaluation's protocol,
# and for curves in the settings of the data.
_MEASURED_ON = ("data", "split", "images", "shape", "binarize")
_FOLLOWED_ON = ("", ".binarize", ".resize", ".pad", ".channels", ".crop", ".folder")

_LOWER = ("loss", "nll", "error", "mse", "distance", "fid", "frechet", "bits", "perplexity")
_HIGHER = ("elbo", "iwae", "bound", "accuracy", "likelihood", "auc", "active", "density", "nmi")


def direction(key: str) -> int:
    """Return 1 if a metric is better when higher, -1 if when lower, 0 if neither is known.

    Examples:
        >>> direction("val/elbo"), direction("test/nll"), direction("val/kl")
        (1, -1, 0)
    """
    name = key.lower()
    if any(word in name for word in _LOWER) or "neg" in name:
        return -1
    return int(any(word in name for word in _HIGHER))


@dataclass(frozen=True)
class Column:
    """One metric of every run.

    Attributes:
        key: Name of the metric, with `(best)` or `(last)` for one that was followed in training.
        values: One number a run, None where the run has none.
        direction: See `direction`.
        comparable: Whether all the numbers were measured on the same images, prepared alike.
    """

    key: str
    values: tuple[float | None, ...]
    direction: int
    comparable: bool = True

    @property
    def best(self) -> float | None:
        """The best number, if the runs can be told apart by it."""
        known = self._finite
        # A loss is what its own run minimises, which need not be what the others do.
        if not (self.direction and self.comparable) or len(set(known)) < 2 or "loss" in self.key:
            return None
        return max(known, key=lambda v: self.direction * v)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The numbers to five digits or so, with as many decimals in the whole column."""
        largest = max(map(abs, self._finite), default=0.0)
        if all(v == int(v) for v in self._finite):
            form = ".0f"
        elif largest < 0.01 or largest >= 1e7:
            form = ".3g"
        else:
            form = f".{max(0, min(4, 5 - len(str(int(largest)))))}f"
        return tuple("" if v is None else format(v, form) for v in self.values)

    @property
    def _finite(self) -> list[float]:
        return [v for v in self.values if v is not None and math.isfinite(v)]


class Comparison:
    """Runs side by side, in the order of the metric that they are sorted by.

    Attributes:
        runs: The runs, best first.
        names: A unique name of each.
        sorted_by: The metric that orders them, if they share one.
        settings: For each setting that differs, one text a run, empty where it does not apply.
        columns: The metrics, scores of an evaluation first.

    Args:
        runs: The runs to compare.
        sort: A metric, or the start of its name; by default the first that all runs have.

    Raises:
        LabError: If a file of a run is damaged, or no metric is called `sort`.
    """

    def __init__(self, runs: Sequence[Run], sort: str | None = None) -> None:
        columns = list(_columns(runs))
        column = _sorted_by(columns, sort)
        places = order(column, len(runs))
        self.sorted_by = column and column.key
        self.runs = [runs[i] for i in places]
        self.columns = [replace(c, values=tuple(c.values[i] for i in places)) for c in columns]
        names = [run.name for run in self.runs]
        unique = len(set(names)) == len(names)
        self.names = names if unique else [str(run.path) for run in self.runs]
        self.settings = differences(self.runs)


def _columns(runs: Sequence[Run]) -> Iterator[Column]:
    scores = [run.scores for run in runs]
    for key in _union(scores):
        protocols = [_protocol(run, key.partition("/")[0]) for run in runs]
        subjects = [[p.get(name) for name in _MEASURED_ON] for p in protocols]
        yield _column(key, [s.get(key) for s in scores], direction(key), subjects)
    curves = [{k: c for k, c in run.curves().items() if k.startswith("val/")} for run in runs]
    data = [dict(_flatten(run.config.get("data"), "data")) for run in runs]
    subjects = [[d.get(f"data{end}") for end in _FOLLOWED_ON] for d in data]
    for key in sorted(_union(curves)):
        histories = [[value for _, value in c.get(key, ())] for c in curves]
        way = direction(key)
        if way:
            yield _column(f"{key} (best)", [_best(h, way) for h in histories], way, subjects)
        yield _column(f"{key} (last)", [h[-1] if h else None for h in histories], way, subjects)


def _column(
    key: str, values: Sequence[float | None], way: int, subjects: Sequence[Sequence[str | None]]
) -> Column:
    measured = {tuple(s) for s, v in zip(subjects, values, strict=True) if v is not None}
    return Column(key, tuple(values), way, comparable=len(measured) < 2)


def _protocol(run: Run, split: str) -> dict[str, str]:
    """Return the protocol of a split's evaluation, as texts; empty if there was none."""
    return dict(_flatten(run.evaluation["protocol"].get(split)))


def _union(tables: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for table in tables for key in table))


def _best(values: Sequence[float], way: int) -> float | None:
    return max((v for v in values if math.isfinite(v)), key=lambda v: way * v, default=None)


def order(column: Column | None, runs: int) -> list[int]:
    """Return the places of the runs in a column, best first, or as they are without one."""
    if column is None:
        return list(range(runs))

    def rank(i: int) -> tuple[bool, float]:
        value = column.values[i]
        missing = value is None or not math.isfinite(value)
        return missing, 0.0 if value is None or missing else -value * (column.direction or -1)

    return sorted(range(runs), key=rank)


def _sorted_by(columns: Sequence[Column], sort: str | None) -> Column | None:
    if sort is None:
        shared = (c for c in columns if c.direction and c.comparable and None not in c.values)
        return next(shared, None)
    for column in columns:
        if sort in (column.key, column.key.partition(" ")[0]):
            return column
    keys = [c.key.partition(" ")[0] for c in columns]
    near = get_close_matches(sort, keys, 1) or sorted(set(keys))
    raise LabError(f"No metric is called {sort!r}; there is {', '.join(near) or 'none yet'}.")


def settings(run: Run, over: Sequence[str] = ()) -> dict[str, str]:
    """Return dotted keys and texts of the settings of a run's experiment, but for those `over`."""
    return {
        key: text
        for key, text in _flatten(run.config)
        if not any(key == name or key.startswith(f"{name}.") for name in _BOOKKEEPING)
        and not any(f".{key}".endswith(f".{name}") for name in over)
    }


def protocols(run: Run, over: Sequence[str] = ()) -> dict[str, dict[str, str]]:
    """Return for each split what its numbers rest on, but for the settings `over`."""
    apart = {*_TOOLS, *(name.rpartition(".")[2] for name in over)}
    return {
        split: {key: text for key, text in _protocol(run, split).items() if key not in apart}
        for split in run.evaluation["protocol"]
    }


def differences(runs: Sequence[Run], over: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return for each setting that differs, but for those `over`, one text a run or none."""
    tables = [settings(run, over) for run in runs]
    different = {
        key: [table.get(key, "") for table in tables]
        for key in _union(tables)
        if len({table.get(key, "") for table in tables}) > 1
    }
    different = {_shorten(key, different): cells for key, cells in different.items()}
    return different | _different_protocols([protocols(run, over) for run in runs])


def _different_protocols(found: Sequence[dict[str, dict[str, str]]]) -> dict[str, list[str]]:
    different = {}
    for split in _union(found):
        tables = [protocol.get(split, {}) for protocol in found]
        for key in _union(tables):
            # A run that was not evaluated differs from the others by that alone.
            if len({table[key] for table in tables if key in table}) > 1:
                different[f"evaluation.{split}.{key}"] = [t.get(key, "") for t in tables]
    return different


def _flatten(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted keys and texts; a class is the value of the key that it fills, as are several."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "class_path":
                yield key, str(inner).rpartition(".")[2]
            else:
                yield from _flatten(
                    inner, key if name == "init_args" else f"{key}.{name}".strip(".")
                )
    elif isinstance(value, list) and value and all(map(_is_class, value)):
        names = [str(inner["class_path"]).rpartition(".")[2] for inner in value]
        yield key, ", ".join(names)
        for i, (name, inner) in enumerate(zip(names, value, strict=True)):
            rest = {k: v for k, v in inner.items() if k != "class_path"}
            yield from _flatten(rest, f"{key}.{name}" + f"[{i}]" * (names.count(name) > 1))
    elif value is not None:
        yield key, value if isinstance(value, str) else json.dumps(value)


def _is_class(value: Any) -> bool:
    return isinstance(value, dict) and "class_path" in value


def _shorten(key: str, keys: Iterable[str]) -> str:
    """Return the shortest end of a dotted key that no other key shares."""
    parts = key.split(".")
    for n in range(1, len(parts)):
        end = ".".join(parts[-n:])
        if not any(k != key and (k == end or k.endswith(f".{end}")) for k in keys):
            return end
    return key
