"""Groups of runs that differ by seeds alone: the numbers of `lab compare --over`."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from statistics import stdev

from vae_lab.errors import LabError
from vae_lab.runs import Run, by_name
from vae_lab.verbs.comparing.comparison import Column, Comparison, order
from vae_lab.verbs.comparing.settings import differences, protocols, settings, stopped

__all__ = ["Groups", "Spread", "check_over", "deviation", "plus_minus"]


@dataclass(frozen=True)
class Spread(Column):
    """One metric's mean over each group of runs.

    Attributes:
        deviations: Sample standard deviation of each group; None for a single run.
        counts: For each group, the number of runs with the metric, if not all have it.
    """

    deviations: tuple[float | None, ...] = ()
    counts: tuple[int | None, ...] = ()

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Mean ± standard deviation, to two significant digits of the latter."""
        cells = zip(self.values, self.deviations, self.counts, strict=True)
        return tuple(
            plus_minus(mean, spread) + (f" (n = {n})" if n else "") for mean, spread, n in cells
        )


class Groups:
    """Rows of runs that differ only in the settings `over`.

    Attributes:
        runs: The runs of each group, including repetitions of the same run.
        names: For each group, the experiments of its runs.
        sorted_by: The metric whose mean orders the groups, if there is one.
        settings: The number of runs in each group, repetitions counted separately, and the settings
            that differ between groups.
        columns: The metrics.

    Args:
        comparison: The runs.
        over: Settings that may differ within a group, as dotted names or ends of those.
    """

    def __init__(self, comparison: Comparison, over: Sequence[str]) -> None:
        runs = comparison.runs
        found = _grouped(runs, over)
        groups = [_distinct(runs, group) for group in found]
        self.sorted_by = comparison.sorted_by
        sorts = next((c for c in comparison.columns if c.key == self.sorted_by), None)
        places = order(sorts and _spread(sorts, groups), len(groups))
        found, groups = [found[i] for i in places], [groups[i] for i in places]
        self.runs = [[runs[i] for i in group] for group in found]
        self.columns = [_spread(column, groups) for column in comparison.columns]
        self.names = [_name(runs[i] for i in group) for group in groups]
        counts = [_count(len(g), len(f) - len(g)) for g, f in zip(groups, found, strict=True)]
        self.settings = {"runs": counts} | differences([runs[group[0]] for group in groups], over)


def check_over(over: Sequence[str], runs: Sequence[Run]) -> None:
    """Refuse names that are no setting of any run.

    Raises:
        LabError: If one of `over` is none.
    """
    known = {key for run in runs for key in settings(run)}
    for name in over:
        if not any(f".{key}".endswith(f".{name}") for key in known):
            ends = {key.rpartition(".")[2]: key for key in sorted(known)}
            near = get_close_matches(name, known | ends.keys(), 1)
            hint = f"; did you mean {ends.get(near[0], near[0])}?" if near else "."
            raise LabError(f"No run has a setting {name!r}{hint}")


def _grouped(runs: Sequence[Run], over: Sequence[str]) -> list[list[int]]:
    """Return the indices of the runs of each group."""
    known = [
        (settings(run, over) | {"stopped": str(stopped(run))}, protocols(run, over)) for run in runs
    ]
    groups: list[list[int]] = []
    for i, own in enumerate(known):
        for group in groups:
            if all(_alike(own, known[j]) for j in group):
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def _count(runs: int, repeated: int) -> str:
    return f"{runs} ({repeated} repeated)" if repeated else str(runs)


def _distinct(runs: Sequence[Run], group: Sequence[int]) -> list[int]:
    """Return a group without repetitions, runs with equal settings and seed, which have no spread.

    The newest repetition is kept, of those that were evaluated if any was.
    """

    def worth(i: int) -> tuple[bool, str, str]:
        started = str(runs[i].record.get("started") or "")
        return bool(protocols(runs[i])), started, str(runs[i].path)

    last = {frozenset(settings(runs[i]).items()): i for i in sorted(group, key=worth)}
    return sorted(last.values())


Known = tuple[dict[str, str], dict[str, dict[str, str]]]
"""Settings, and the protocol of each split."""


def _alike(one: Known, other: Known) -> bool:
    """Return whether two runs are repetitions; one without evaluation matches any other."""
    both = one[1].keys() & other[1].keys()
    return one[0] == other[0] and all(one[1][split] == other[1][split] for split in both)


def _spread(column: Column, groups: Sequence[Sequence[int]]) -> Spread:
    found = [[v for i in group if (v := column.values[i]) is not None] for group in groups]
    sizes = [len(group) for group in groups]
    return Spread(
        column.key,
        tuple(sum(values) / len(values) if values else None for values in found),
        column.direction,
        column.comparable,
        tuple(deviation(values) for values in found),
        tuple(len(v) if 0 < len(v) < n else None for v, n in zip(found, sizes, strict=True)),
    )


def deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation; None for a single value."""
    if len(values) < 2:
        return None
    # Python 3.11 cannot handle infinity here.
    return stdev(values) if all(map(math.isfinite, values)) else math.nan


def plus_minus(mean: float | None, spread: float | None) -> str:
    """Format a number and its spread, to two significant digits of the latter."""
    if mean is None:
        return ""
    if spread is None or not math.isfinite(spread):
        return f"{mean:.5g}"
    # Digits of the rounded spread: 0.0996 is 0.10.
    digits = max(0, 1 - math.floor(math.log10(float(f"{spread:.1e}")))) if spread else 4
    return f"{mean:.{digits}f} ± {spread:.{digits}f}"


def _name(runs: Iterable[Run]) -> str:
    return " + ".join(sorted({run.name.rpartition("/")[0] for run in runs}, key=by_name))
