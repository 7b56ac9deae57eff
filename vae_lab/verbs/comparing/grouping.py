"""Runs that differ by seeds alone, taken together: the numbers behind `lab compare --over`."""

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
        deviations: Standard deviation of each group, over one less than its runs; None of one run.
        counts: For each group, how many runs have the metric, if not all of them.
    """

    deviations: tuple[float | None, ...] = ()
    counts: tuple[int | None, ...] = ()

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Mean ± standard deviation, to two digits of the latter."""
        cells = zip(self.values, self.deviations, self.counts, strict=True)
        return tuple(
            plus_minus(mean, spread) + (f" (n = {n})" if n else "") for mean, spread, n in cells
        )


class Groups:
    """Runs that differ in nothing but the settings `over`, in one row.

    Attributes:
        runs: Those of each group, with those that repeat another one.
        names: Of each group, the experiments of its runs.
        sorted_by: The metric by the mean of which the groups are ordered, if there is one.
        settings: How many runs each group has, those apart that repeat another one, and the
            settings that tell groups apart.
        columns: The metrics.

    Args:
        comparison: The runs.
        over: Settings that may differ within a group, by their dotted names or the ends of those.
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
    """Refuse to take runs together over what is a setting of none.

    Raises:
        LabError: If one of `over` is.
    """
    known = {key for run in runs for key in settings(run)}
    for name in over:
        if not any(f".{key}".endswith(f".{name}") for key in known):
            ends = {key.rpartition(".")[2]: key for key in sorted(known)}
            near = get_close_matches(name, known | ends.keys(), 1)
            hint = f"; did you mean {ends.get(near[0], near[0])}?" if near else "."
            raise LabError(f"No run has a setting {name!r}{hint}")


def _grouped(runs: Sequence[Run], over: Sequence[str]) -> list[list[int]]:
    """Return the places of runs that differ in nothing else, group by group."""
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
    """Return a group without runs that repeat another one, seed and all, which have no spread.

    The newest of each stays, of those that were evaluated if any was.
    """

    def worth(i: int) -> tuple[bool, str, str]:
        started = str(runs[i].record.get("started") or "")
        return bool(protocols(runs[i])), started, str(runs[i].path)

    last = {frozenset(settings(runs[i]).items()): i for i in sorted(group, key=worth)}
    return sorted(last.values())


Known = tuple[dict[str, str], dict[str, dict[str, str]]]
"""Settings, and the protocol of each split."""


def _alike(one: Known, other: Known) -> bool:
    """Tell whether two runs differ in nothing; one that was not evaluated is like the others."""
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
    """Return the standard deviation over one less than their number; None of a single value."""
    if len(values) < 2:
        return None
    # Python 3.11 has no way to handle infinity there.
    return stdev(values) if all(map(math.isfinite, values)) else math.nan


def plus_minus(mean: float | None, spread: float | None) -> str:
    """Write a number and how far it spreads, to two digits of the latter."""
    if mean is None:
        return ""
    if spread is None or not math.isfinite(spread):
        return f"{mean:.5g}"
    # Of the rounded spread: 0.0996 is 0.10.
    digits = max(0, 1 - math.floor(math.log10(float(f"{spread:.1e}")))) if spread else 4
    return f"{mean:.{digits}f} ± {spread:.{digits}f}"


def _name(runs: Iterable[Run]) -> str:
    return " + ".join(sorted({run.name.rpartition("/")[0] for run in runs}, key=by_name))
