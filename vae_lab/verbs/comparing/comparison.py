"""What differs between runs and how they score: the numbers behind `lab compare`."""

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

# Numbers of different images cannot be ranked: what tells those apart in an evaluation's protocol,
# and for curves all settings of the data, a user's own too, but those of the training images.
_MEASURED_ON = (
    *("data", "split", "images", "shape", "binarize", "split_seed", "quadrants"),
    *("resize", "pad", "own", "listing"),
)
_LEARNED_BY = ("batch_size", "eval_batch_size", "shift", "limit", "limit_seed")

# What tells apart, in a callback's settings, by whom and by which samples a curve was measured.
_JUDGED_BY = (".judge", ".samples", ".seed")

# How many samples a note counts: no more are compared than there are images to learn from.
_COUNTED = re.compile(r"\d+ samples")

# Logarithms of a probability, or of a density, which are of one kind of pixels or of another.
_LIKELIHOODS = ("elbo", "reconstruction", "nll", "mc_nll", "ais_nll", "log_density")

# Estimates, which by more draws are tighter or of something else: the note of each counts them.
_ESTIMATES = ("nll", "mc_nll", "ais_nll", "parzen_log_density")

# What a note tells beside that: a Parzen window's width, which validation images choose.
_CHOSEN = re.compile(r"sigma [\d.]+ ")

# Numbers that are not the model's doing: of what it is given to restore, and of baselines.
_GIVEN = ("corrupted", "pca_", "real_")

# Losses of adversarial players, and errors in their features, rank no run: each has its own.
_PLAYED = ("critic_loss", "generator_loss", "feature_error")

_LOWER = ("loss", "nll", "error", "mse", "distance", "fid", "frechet", "bits", "perplexity")
_HIGHER = (
    *("elbo", "iwae", "bound", "accuracy", "likelihood", "auc", "active", "density", "nmi"),
    *("precision", "recall", "coverage", "covered", "agreement"),
)


def direction(key: str) -> int:
    """Return 1 if a metric is better when higher, -1 if when lower, 0 if neither is known.

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
        key: Name of the metric, with `(best)` or `(last)` for one that was followed in training.
        values: One number a run, None where the run has none.
        direction: See `direction`.
        comparable: Whether all the numbers were measured alike, on the same images.
    """

    key: str
    values: tuple[float | None, ...]
    direction: int
    comparable: bool = True

    @property
    def ranks(self) -> bool:
        """Whether the metric says which runs are better."""
        # A loss is what its own run minimises, which need not be what the others do.
        return bool(self.direction) and self.comparable and "loss" not in self.key

    @property
    def best(self) -> float | None:
        """The best number, if the runs can be told apart by it."""
        known = self._finite
        if not self.ranks or len(set(known)) < 2:
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
        metric: What to sort by, or the start of its name; by default the first that all runs have
            and that ranks them.

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
    """Yield what is known of any run, its values in the order of the runs."""
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
    """Return what the curve of a metric was measured on, by the settings of its run."""
    # Only of a folder of files does the root say which images those are.
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
    """Return the settings of the corruption: errors of stronger damage are larger."""
    if not key.endswith("/restored_squared_error"):
        return []
    return [f"{k} {v}" for k, v in known.items() if f"{k}.".startswith("model.corruption.")]


def _column(
    key: str, values: Sequence[float | None], way: int, subjects: Sequence[Sequence[str | None]]
) -> Column:
    measured = {tuple(s) for s, v in zip(subjects, values, strict=True) if v is not None}
    return Column(key, tuple(values), way, comparable=len(measured) < 2)


def _subject(run: Run, key: str) -> list[str | None]:
    """Return what the metric of an evaluation was measured on."""
    known = protocol(run, key.partition("/")[0])
    found = [known.get(name) for name in _MEASURED_ON]
    if _name(key) in JUDGED:
        found += [known.get("judge"), *_COUNTED.findall(_note(run, key))[:1]]
    if _name(key) in _LIKELIHOODS:
        found.append(known.get("likelihood"))
    return found + _damage(dict(flatten(run.config)), key)


def _estimated(run: Run, key: str) -> str | None:
    """Return how a metric was estimated, if it was: what is exact compares with every estimate."""
    if _name(key) not in _ESTIMATES or key not in run.scores:
        return None
    note = _note(run, key)
    return None if "exact" in note else _CHOSEN.sub("", note)


def _note(run: Run, key: str) -> str:
    """Return how a metric of an evaluation says that it was measured, but for the images."""
    entry = run.evaluation["metrics"].get(key, {})
    return str(entry.get("protocol")).partition("; data ")[0]


def _number(text: str) -> float:
    return int(text) if text.isdigit() else math.inf


def _name(key: str) -> str:
    """Return a metric's name, which says nothing of the split nor of nats told in bits."""
    return key.partition("/")[2].removesuffix("_bits_per_dim")


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


def _sorted_by(columns: Sequence[Column], metric: str | None) -> Column | None:
    if metric is None:
        return next((c for c in columns if c.ranks and None not in c.values), None)
    for column in columns:
        if metric in (column.key, column.key.partition(" ")[0]):
            return column
    keys = [c.key.partition(" ")[0] for c in columns]
    near = get_close_matches(metric, keys, 1) or sorted(set(keys))
    raise LabError(f"No metric is called {metric!r}; there is {', '.join(near) or 'none yet'}.")
