"""Differences and scores of runs: the numbers of `lab compare`."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property

from vae_lab.errors import LabError
from vae_lab.metrics.judged import JUDGED
from vae_lab.runs import Run, names_of
from vae_lab.verbs.comparing.settings import differences, flatten, protocol, union

__all__ = ["Column", "Comparison", "direction", "order"]

# Numbers of different images cannot be ranked. They are identified by these entries of an
# evaluation's protocol, and for curves by all settings of the data but those of training images.
_MEASURED_ON = (
    *("data", "split", "images", "shape", "binarize", "split_seed", "quadrants"),
    *("resize", "pad", "own", "listing"),
)
_LEARNED_BY = ("batch_size", "eval_batch_size", "shift", "limit", "limit_seed")

# Settings of callbacks that identify the judge and the samples of a curve.
_JUDGED_BY = (".judge", ".samples", ".seed")

# The number of samples in a note, at most that of the training images.
_COUNTED = re.compile(r"\d+ samples")

# Log-probabilities or log-densities, which depend on the kind of pixels.
_LIKELIHOODS = ("elbo", "reconstruction", "nll", "mc_nll", "ais_nll", "log_density")

# Estimates that depend on the number of draws, which is part of the note.
_ESTIMATES = ("nll", "mc_nll", "ais_nll", "parzen_log_density")

# The width of a Parzen window in a note, which is chosen by validation images.
_CHOSEN = re.compile(r"sigma [\d.]+ ")

# Numbers that do not depend on the model: of its inputs, and of baselines.
_GIVEN = ("corrupted", "pca_", "real_")

# Adversarial losses and errors in a critic's features do not rank runs, which differ in them.
_PLAYED = ("critic_loss", "generator_loss", "feature_error")

_LOWER = ("loss", "nll", "error", "mse", "distance", "fid", "frechet", "bits", "perplexity")
_HIGHER = (
    *("elbo", "iwae", "bound", "accuracy", "likelihood", "auc", "active", "density", "nmi"),
    *("precision", "recall", "coverage", "covered", "agreement"),
)


def direction(key: str) -> int:
    """Return 1 if a higher metric is better, -1 if a lower one is, 0 if unknown.

    Examples:
        >>> direction("val/elbo"), direction("test/nll"), direction("val/kl")
        (1, -1, 0)
        >>> direction("val/confidence")  # "fid" is part of it, and no word
        0
    """
    name = key.lower()
    if name.rpartition("/")[2].startswith((*_GIVEN, *_PLAYED)):
        return 0
    words = set(re.split(r"[\W_]+", name))
    if words & {*_LOWER, "neg"}:
        return -1
    return int(bool(words & {*_HIGHER}))


@dataclass(frozen=True)
class Column:
    """One metric of every run.

    Attributes:
        key: Name of the metric, with `(best)` or `(last)` for metrics of training.
        values: One number per run, None if the run has none.
        direction: See `direction`.
        comparable: Whether all numbers were measured alike, on the same images.
    """

    key: str
    values: tuple[float | None, ...]
    direction: int
    comparable: bool = True

    @property
    def ranks(self) -> bool:
        """Whether the metric ranks the runs."""
        # Runs may minimise different losses.
        return bool(self.direction) and self.comparable and "loss" not in self.key

    @property
    def best(self) -> float | None:
        """The best number, if the metric ranks the runs."""
        known = self._finite
        if not self.ranks or len(set(known)) < 2:
            return None
        return max(known, key=lambda v: self.direction * v)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The numbers to about five digits, with the same number of decimals in the column."""
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
    """A table of runs, sorted by a metric.

    Attributes:
        runs: The runs, best first.
        names: A unique name of each.
        sorted_by: The metric that orders them, if they share one.
        settings: For each setting that differs, one text per run, empty if it does not apply.
        columns: The metrics, scores of evaluations first.

    Args:
        runs: The runs to compare.
        metric: Metric to sort by, or the start of its name; by default the first that all runs
            have and that ranks them.

    Raises:
        LabError: If a file of a run is damaged, or no metric is called `metric`.
    """

    def __init__(self, runs: Sequence[Run], metric: str | None = None) -> None:
        columns = list(columns_of(runs))
        column = _sorted_by(columns, metric)
        places = order(column, len(runs))
        self.sorted_by = None if column is None else column.key
        self.runs = [runs[i] for i in places]
        self.columns = [replace(c, values=tuple(c.values[i] for i in places)) for c in columns]
        self.names = names_of([run.path for run in self.runs])
        self.settings = differences(self.runs)


def columns_of(runs: Sequence[Run]) -> Iterator[Column]:
    """Yield the metrics that any run has, with values in the order of the runs."""
    scores = [run.scores for run in runs]
    for key in union(scores):
        subjects = [_subject(run, key) for run in runs]
        column = _column(key, [s.get(key) for s in scores], direction(key), subjects)
        alike = len({_estimated(run, key) for run in runs} - {None}) < 2
        yield replace(column, comparable=column.comparable and alike)
    curves = [{k: c for k, c in run.curves().items() if k.startswith("val/")} for run in runs]
    known = [dict(flatten(run.config)) for run in runs]
    for key in sorted(union(curves)):
        subjects = [_followed_on(settings, key) for settings in known]
        histories = [[value for _, value in c.get(key, ())] for c in curves]
        way = direction(key)
        if way:
            yield _column(f"{key} (best)", [_best(h, way) for h in histories], way, subjects)
        yield _column(f"{key} (last)", [h[-1] if h else None for h in histories], way, subjects)


def _followed_on(known: Mapping[str, str], key: str) -> list[str | None]:
    """Return the settings that identify the images of a curve."""
    # The root identifies the images only for a folder of files.
    besides = _LEARNED_BY if "data.folder" in known else (*_LEARNED_BY, "root")
    apart = {f"data.{name}" for name in besides}
    data = {k: v for k, v in known.items() if f"{k}.".startswith("data.") and k not in apart}
    found: list[str | None] = [f"{key} {data[key]}" for key in sorted(data)]
    if _name(key) in _LIKELIHOODS:
        found += [known.get(f"model.{part}") for part in ("likelihood", "condition")]
    if _name(key) in JUDGED:
        callbacks = {k: v for k, v in known.items() if k.startswith("trainer.callbacks.")}
        found += [v for k, v in callbacks.items() if k.endswith(_JUDGED_BY)]
        drawn = [v for k, v in callbacks.items() if k.endswith(".samples")]
        found.append(min([*drawn, known.get("data.limit", "")], key=_number))
    return found + _damage(known, key)


def _damage(known: Mapping[str, str], key: str) -> list[str | None]:
    """Return the settings of the corruption, as errors grow with it."""
    if not key.endswith("/restored_squared_error"):
        return []
    return [f"{k} {v}" for k, v in known.items() if f"{k}.".startswith("model.corruption.")]


def _column(
    key: str, values: Sequence[float | None], way: int, subjects: Sequence[Sequence[str | None]]
) -> Column:
    measured = {tuple(s) for s, v in zip(subjects, values, strict=True) if v is not None}
    return Column(key, tuple(values), way, comparable=len(measured) < 2)


def _subject(run: Run, key: str) -> list[str | None]:
    """Return the entries that identify the images of an evaluation's metric."""
    known = protocol(run, key.partition("/")[0])
    found = [known.get(name) for name in _MEASURED_ON]
    if _name(key) in JUDGED:
        found += [known.get("judge"), *_COUNTED.findall(_note(run, key))[:1]]
    if _name(key) in _LIKELIHOODS:
        found.append(known.get("likelihood"))
    return found + _damage(dict(flatten(run.config)), key)


def _estimated(run: Run, key: str) -> str | None:
    """Return how a metric was estimated; None if it is exact, comparable with any estimate."""
    if _name(key) not in _ESTIMATES or key not in run.scores:
        return None
    note = _note(run, key)
    return None if "exact" in note else _CHOSEN.sub("", note)


def _note(run: Run, key: str) -> str:
    """Return the note of an evaluation's metric, without the images."""
    entry = run.evaluation["metrics"].get(key, {})
    return str(entry.get("protocol")).partition("; data ")[0]


def _number(text: str) -> float:
    return int(text) if text.isdigit() else math.inf


def _name(key: str) -> str:
    """Return a metric's name without the split and the unit."""
    return key.partition("/")[2].removesuffix("_bits_per_dim")


def _best(values: Sequence[float], way: int) -> float | None:
    return max((v for v in values if math.isfinite(v)), key=lambda v: way * v, default=None)


def order(column: Column | None, runs: int) -> list[int]:
    """Return the indices of the runs, best first by a column, or unchanged without one."""
    if column is None:
        return list(range(runs))

    def rank(i: int) -> tuple[bool, float]:
        value = column.values[i]
        missing = value is None or not math.isfinite(value)
        return missing, 0.0 if value is None or missing else -value * (column.direction or -1)

    return sorted(range(runs), key=rank)


def _sorted_by(columns: Sequence[Column], metric: str | None) -> Column | None:
    if metric is None:
        return next((c for c in columns if c.ranks and None not in c.values), None)
    for column in columns:
        if metric in (column.key, column.key.partition(" ")[0]):
            return column
    keys = [c.key.partition(" ")[0] for c in columns]
    near = get_close_matches(metric, keys, 1) or sorted(set(keys))
    raise LabError(f"No metric is called {metric!r}; there is {', '.join(near) or 'none yet'}.")
