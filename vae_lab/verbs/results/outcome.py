"""The outcome of a row: its numbers compared with marks, its state, its cost."""

import math
from collections import Counter
from functools import cached_property
from statistics import mean, median
from typing import Any

from vae_lab.metrics.judged import JUDGED
from vae_lab.verbs.comparing.grouping import deviation, plus_minus
from vae_lab.verbs.results.index import Mark
from vae_lab.verbs.results.shelf import Shelf, damage
from vae_lab.verbs.results.training import failure, wanted
from vae_lab.words import counted

__all__ = ["Outcome"]


class Outcome:
    """The outcome of a row: one run per seed, or the reason for a missing one."""

    def __init__(self, shelf: Shelf, name: str) -> None:
        self.shelf, self.name, self.row = shelf, name, shelf.index.rows[name]
        found = {seed: run for seed in self.row.seeds if (run := shelf.find(name, seed))}
        damaged = {seed: note for seed, run in found.items() if (note := damage(run))}
        self.runs = {seed: run for seed, run in found.items() if seed not in damaged}
        # A recorded number is kept, but a failure of a new training is reported too.
        notes = {job.seed: failure(shelf, job) for job in wanted(shelf, [name], again=[name])}
        self.failures = {seed: note for seed, note in (notes | damaged).items() if note}

    def entries(self, key: str) -> dict[int, dict[str, Any]]:
        """Return a metric's entries of `metrics.json` for all seeds, measured by one judge."""
        found = {
            seed: run.evaluation["metrics"][f"test/{key}"]
            for seed, run in self.runs.items()
            if self.shelf.measured(self.name, run, key)
        }
        if key not in JUDGED:
            return found
        judges = {s: self.runs[s].evaluation["protocol"]["test"].get("judge") for s in found}
        most = Counter(judges.values()).most_common(1)
        return {seed: found[seed] for seed in found if judges[seed] == most[0][0]}

    def ours(self, key: str) -> str:
        """Return the number with its spread, or a text in its place."""
        entries = [*self.entries(key).values()]
        if not entries:
            return self.state
        values = [float(entry["value"]) for entry in entries]
        text = _number(values, entries[0].get("unit", ""), entries[0].get("standard_error"))
        if self.row.metrics[key].over == "median" and len(values) > 1:
            text += f", median {median(values):.4g}"
        noted = ", see its note" * any(record.get("note") for record in self.records)
        return f"{text} ({self._seeds(len(values))}{self._stopped}{noted})"

    def _seeds(self, n: int) -> str:
        several = len(self.row.seeds)
        count = f"{n} of {several} seeds" if n < several else "1 seed" if n == 1 else f"{n} seeds"
        return count + f", **FAILED** for {len(self.failures)}" * bool(self.failures)

    @property
    def _stopped(self) -> str:
        return "" if all(run.finished for run in self.runs.values()) else ", stopped early"

    @property
    def state(self) -> str:
        """Return why there is no number."""
        if self.failures:
            return "**FAILED**"
        if not self.runs:
            return "not run"
        finished = all(run.finished for run in self.runs.values())
        return "not evaluated" if finished else "not finished"

    def verdict(self, key: str) -> str:
        """Return whether the mark is met, or by how much missed, once all seeds have a number."""
        mark, entries = self.row.metrics[key], self.entries(key)
        values = [float(entry["value"]) for entry in entries.values()]
        if not all(map(math.isfinite, values)):
            return "**FAILED**, no finite number"
        done = [s for s in entries if self.runs[s].finished and s not in self.failures]
        if values and len(done) < len(self.row.seeds):
            return f"incomplete, {len(done)} of {_count(len(self.row.seeds), 'seed')}"
        if mark.published is None or not values:
            return ""
        if mark.caveat:
            return "not compared"
        return _verdict(mark, median(values) if mark.over == "median" else mean(values))

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        return [run.record for run in self.runs.values()]

    def recorded(self, key: str) -> str:
        """Return the distinct values of a key of `run.json`."""
        return ", ".join(dict.fromkeys(str(r[key]) for r in self.records if r.get(key)))

    @property
    def budget(self) -> str:
        """Epochs and images seen by `metrics.csv`, and the earlier training it started from."""
        seen = [run.seen for run in self.runs.values()]
        texts = [f"{_count(epochs, 'epoch')}, {_count(images, 'image')}" for epochs, images in seen]
        before = [f"after [{row}](#{row})" for row in self.row.needs.values()] if seen else []
        return "; ".join(dict.fromkeys([*texts, *before]))

    @property
    def time(self) -> str:
        seconds = [r["seconds"] for r in self.records if "seconds" in r]
        return _duration(mean(seconds)) + " a seed" * (len(seconds) > 1) if seconds else ""


def _number(values: list[float], unit: str, standard_error: float | None) -> str:
    """Format a mean with its spread over seeds, or else over images."""
    if len({*values}) == 1 and unit in ("dimensions", "classes"):
        return f"{values[0]:.0f}"
    spread = deviation(values) if len(values) > 1 else standard_error
    if spread and 0 < abs(mean(values)) < 1e-3:
        return f"{mean(values):.4g} ± {spread:.2g}"
    return plus_minus(mean(values), spread)


def _verdict(mark: Mark, ours: float) -> str:
    """Compare a number with a mark.

    Examples:
        >>> _verdict(Mark(3.0, "at most"), 3.5)
        '**MISSED** by 0.5'
    """
    # Decimals that are equal may differ in binary.
    difference = round(ours - (mark.published or 0.0), 9)
    beyond = {"at most": difference, "at least": -difference}.get(str(mark.goal), abs(difference))
    if beyond > mark.tolerance:
        return f"**MISSED** by {beyond:.3g}"
    if mark.goal == "about":
        return "met"
    return "met within its tolerance" if beyond > 0 else f"met by {-beyond or 0.0:.3g}"


def _count(n: float, what: str) -> str:
    return f"{n / 1e6:.3g} million {what}s" if n >= 1e6 else counted(round(n), what)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
