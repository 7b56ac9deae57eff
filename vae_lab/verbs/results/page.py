"""`RESULTS.md`: our numbers beside the published ones, all read from run folders and the index."""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from statistics import mean, median
from typing import Any

from vae_lab.runs import Run
from vae_lab.verbs.comparing.grouping import deviation, plus_minus
from vae_lab.verbs.results.index import Mark
from vae_lab.verbs.results.metrics import METRICS
from vae_lab.verbs.results.shelf import Shelf, finished, record
from vae_lab.verbs.results.training import failure, wanted

__all__ = ["page"]

_INTRODUCTION = """\
Written by `{command}` from the run folders and `{index}`; nothing here is typed by hand.
`{command} ROW` re-makes a row. A run counts for a row while its settings are the row's; the
commit that made it stands below, as later ones may have changed what the same settings do.

Ours is the mean over seeds ± their standard deviation; of a single seed, ± the standard error over
test images, which says nothing of other seeds. Likelihoods are in nats an image, shares between 0
and 1. Pictures of these runs: [{figures}]({figures})."""


class _Outcome:
    """What became of a row: a run a seed, or why there is none."""

    def __init__(self, shelf: Shelf, name: str) -> None:
        self.shelf, self.name, self.row = shelf, name, shelf.index.rows[name]
        found = {seed: shelf.find(name, seed) for seed in self.row.seeds}
        self.runs = {seed: run for seed, run in found.items() if run}
        notes = {job.seed: failure(shelf.root, job) for job in wanted(shelf, [name])}
        self.failures = {seed: note for seed, note in notes.items() if note}

    def entries(self, key: str) -> list[dict[str, Any]]:
        """Return what `metrics.json` says of a metric, seed by seed."""
        runs = [run for run in self.runs.values() if self.shelf.measured(self.name, run, key)]
        return [run.evaluation["metrics"][f"test/{key}"] for run in runs]

    def ours(self, key: str) -> str:
        """Return the number with its spread, or what there is in its place."""
        entries = self.entries(key)
        if not entries:
            return self.state
        values = [float(entry["value"]) for entry in entries]
        text = _number(values, entries[0]["unit"], entries[0]["standard_error"])
        if self.row.metrics[key].over == "median" and len(values) > 1:
            text += f", median {median(values):.4g}"
        return f"{text} ({self._seeds(len(values))}{self._stopped})"

    def _seeds(self, n: int) -> str:
        several = len(self.row.seeds)
        count = f"{n} of {several} seeds" if n < several else "1 seed" if n == 1 else f"{n} seeds"
        return count + f", **FAILED** for {len(self.failures)}" * bool(self.failures)

    @property
    def _stopped(self) -> str:
        return "" if all(map(finished, self.runs.values())) else ", stopped early"

    @property
    def state(self) -> str:
        """Say why there is no number."""
        if self.failures:
            return "**FAILED**"
        if not self.runs:
            return "not run"
        return "not evaluated" if all(map(finished, self.runs.values())) else "not finished"

    def verdict(self, key: str) -> str:
        """Say whether ours reaches the published number, or by how much not."""
        mark, values = self.row.metrics[key], [float(e["value"]) for e in self.entries(key)]
        if mark.published is None or not values:
            return ""
        if mark.caveat:
            return "not compared"
        return _verdict(mark, median(values) if mark.over == "median" else mean(values))

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        return [record(run) for run in self.runs.values()]

    def recorded(self, key: str, form: str = "{}") -> str:
        """Return what `run.json` says of something, each different value once."""
        return ", ".join(dict.fromkeys(form.format(r[key]) for r in self.records if r.get(key)))

    @property
    def budget(self) -> str:
        """Epochs and images seen, as `metrics.csv` counts them."""
        seen = [_seen(run) for run in self.runs.values()]
        texts = [f"{_count(epochs, 'epoch')}, {_count(images, 'image')}" for epochs, images in seen]
        return "; ".join(dict.fromkeys(texts))

    @property
    def time(self) -> str:
        seconds = [r["seconds"] for r in self.records if "seconds" in r]
        return _duration(mean(seconds)) + " a seed" * (len(seconds) > 1) if seconds else ""


def page(shelf: Shelf, title: str, quick: bool, figures: str) -> list[str]:
    """Return the page's lines.

    Args:
        shelf: Where the rows and their runs are.
        title: The first line.
        quick: Whether the runs are of the embedded digits.
        figures: The figures' page, as seen from this one.
    """
    outcomes = [_Outcome(shelf, name) for name in shelf.index.rows]
    command = "lab results --quick" if quick else "lab results"
    said = _INTRODUCTION.format(command=command, index=shelf.index.folder, figures=figures)
    head = [title, "", *said.splitlines(), "", _tally(outcomes), ""]
    return [*head, *_table(outcomes, quick), *_rows(outcomes)]


def _tally(outcomes: Iterable[_Outcome]) -> str:
    """Count what the table says, so that nobody has to."""
    said = [
        o.verdict(key) if o.entries(key) else o.state for o in outcomes for key in o.row.metrics
    ]
    # A verdict goes on with how far the mark was missed or met.
    verdicts = ("met", "**MISSED**", "not compared", "**FAILED**")
    kinds = [next((v for v in verdicts if text.startswith(v)), text) for text in said]
    counts = Counter(kind or "without a published number" for kind in kinds)
    order = sorted(counts, key=lambda kind: (*verdicts, kind).index(kind))
    return f"{len(said)} numbers: {', '.join(f'{counts[kind]} {kind}' for kind in order)}."


def _table(outcomes: Iterable[_Outcome], quick: bool) -> Iterator[str]:
    heads = ["row", "system", "measured", "ours", "published", "verdict", "our budget", "time"]
    if quick:
        heads = [head for head in heads if head not in ("published", "verdict")]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for outcome in outcomes:
        for i, key in enumerate(outcome.row.metrics):
            once = [f"[{outcome.name}](#{outcome.name})", outcome.row.system]
            cost = [outcome.budget, outcome.time]
            held = [] if quick else [_published(outcome.row.metrics[key]), outcome.verdict(key)]
            cells = [*(once if not i else ["", ""]), METRICS[key], outcome.ours(key), *held]
            yield f"| {' | '.join([*cells, *(cost if not i else ['', ''])])} |"
    yield ""


def _rows(outcomes: Iterable[_Outcome]) -> Iterator[str]:
    """Say of each row how it was made, measured and published."""
    for outcome in outcomes:
        yield from ("", f"### {outcome.name}", "", f"{outcome.row.system}.", "")
        yield from (f"- {line}" for line in _details(outcome))


def _details(outcome: _Outcome) -> Iterator[str]:
    shelf, name = outcome.shelf, outcome.name
    for key, mark in outcome.row.metrics.items():
        if mark.published is not None:
            parts = [mark.protocol, mark.budget and f"trained for {mark.budget}", mark.caveat]
            after = "; ".join(part for part in parts if part)
            yield (
                f"published {METRICS[key]} {mark.published:g}: {mark.source}"
                + f"; {after}" * bool(after)
            )
    for key in outcome.row.metrics:
        for entry in outcome.entries(key)[:1]:
            yield f"{METRICS[key]}: {entry['unit']}, {_protocol(entry['protocol'])}"
    if outcome.runs:
        versions = dict.fromkeys(
            ", ".join(f"{k} {v}" for k, v in r.get("versions", {}).items()) for r in outcome.records
        )
        machine = f"{outcome.recorded('device')}, threads: {outcome.recorded('threads')}"
        yield f"ours: {outcome.budget}; {outcome.time or 'time unknown'}; on {machine}"
        yield f"commit {outcome.recorded('commit')}; {'; '.join(versions)}"
    for seed, reason in outcome.failures.items():
        yield f"**FAILED**, seed {seed}: {reason}"
    seeds = "|".join(map(str, outcome.row.seeds))
    needs = [f"--{option} RUN-of-{row}" for option, row in outcome.row.needs.items()]
    yield f"`lab fit {' '.join([*shelf.words(name), *needs])} --seed_everything {seeds}`"
    arguments = [f"--{key} {value}" for key, value in outcome.row.evaluate.items()]
    yield f"`{' '.join(['lab evaluate RUN', *arguments])}`"


def _number(values: list[float], unit: str, standard_error: float | None) -> str:
    """Write a mean with its spread over seeds, or else over images."""
    if len(values) == 1 and unit in ("dimensions", "classes"):
        return f"{values[0]:.0f}"
    spread = deviation(values) if len(values) > 1 else standard_error
    if spread and 0 < abs(mean(values)) < 1e-3:
        return f"{mean(values):.4g} ± {spread:.2g}"
    return plus_minus(mean(values), spread)


def _published(mark: Mark) -> str:
    if mark.published is None:
        return ""
    allowed = f" ± {mark.tolerance:g}" if mark.tolerance else ""
    return f"{mark.goal} {mark.published:g}{allowed}, {mark.source}"


def _verdict(mark: Mark, ours: float) -> str:
    """Hold a number against a mark.

    Examples:
        >>> _verdict(Mark(3.0, "at most"), 3.5)
        '**MISSED** by 0.5'
    """
    difference = ours - (mark.published or 0.0)
    beyond = {"at most": difference, "at least": -difference}.get(str(mark.goal), abs(difference))
    if beyond > mark.tolerance:
        return f"**MISSED** by {beyond:.3g}"
    if mark.goal == "about":
        return "met"
    return "met within its tolerance" if beyond > 0 else f"met by {-beyond or 0.0:.3g}"


def _seen(run: Run) -> tuple[float, float]:
    """Return how many epochs and images a run has seen."""
    ends = [
        max((x for curve in run.curves(axis).values() for x, _ in curve), default=-1.0)
        for axis in ("epoch", "images")
    ]
    return ends[0] + 1, max(ends[1], 0.0)


def _count(n: float, what: str) -> str:
    return f"{f'{n / 1e6:.3g} million' if n >= 1e6 else f'{n:,.0f}'} {what}{'s' * (n != 1)}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _protocol(text: str) -> str:
    """Leave out of a protocol which file was measured: the row's commit says what made it."""
    return ", ".join(part for part in text.split(", ") if not part.startswith("checkpoint"))
