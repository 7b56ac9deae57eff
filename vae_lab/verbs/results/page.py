"""`RESULTS.md`: our numbers beside the published ones, from run folders and the index."""

from collections import Counter
from collections.abc import Iterable, Iterator

from vae_lab.verbs.results.index import Mark
from vae_lab.verbs.results.metrics import METRICS
from vae_lab.verbs.results.outcome import Outcome
from vae_lab.verbs.results.shelf import Shelf

__all__ = ["page"]

_INTRODUCTION = """\
`{command}` writes this page from the run folders, `{index}` and the records of earlier runs in
`{index}/measured`; nothing is typed by hand. `{command} ROW` trains and measures a row again. A run
of one process belongs to a row if its settings are the row's. Its commit is given below, as the
same settings may give another result with other code.{marks}

Ours is the mean over seeds ± their standard deviation, or, of a single seed, ± the standard error
over test images, which does not include the differences between seeds. If a median is given, it is
compared with the mark, because single seeds fail. Likelihoods are in nats per image; shares are
between 0 and 1. Scores by a judge are comparable only if the judge is the same; the row's details
give its digest. Pictures of these runs: [{figures}]({figures})."""

_MARKS = """

A mark is a published number or, if it says so, our own aim. A number has met or MISSED its mark by
the given distance; its ± is ignored. Not compared means that the published number was measured
under other conditions, given in the row's details."""


def page(shelf: Shelf, title: str, quick: bool, figures: str) -> list[str]:
    """Return the page's lines.

    Args:
        shelf: The rows and their runs.
        title: The first line.
        quick: Whether the runs are of the embedded digits.
        figures: Path of the figures' page, relative to this one.
    """
    outcomes = [Outcome(shelf, name) for name in shelf.index.rows]
    command = "lab results --quick" if quick else "lab results"
    said = _INTRODUCTION.format(
        command=command, index=shelf.index.folder, figures=figures, marks="" if quick else _MARKS
    )
    head = [title, "", *said.splitlines(), "", _tally(outcomes), ""]
    return [*head, *_table(outcomes, quick), *_rows(outcomes)]


def _tally(outcomes: Iterable[Outcome]) -> str:
    """Count the verdicts of the table."""
    order = ("met", "met our own aim", "**MISSED**", "**MISSED** our own aim", "not compared")
    kinds = Counter(_kind(o, key) for o in outcomes for key in o.row.metrics)
    known = sorted(kinds, key=lambda kind: (*order, "incomplete", "**FAILED**", kind).index(kind))
    return f"{kinds.total()} numbers: {', '.join(f'{kinds[kind]} {kind}' for kind in known)}."


def _kind(outcome: Outcome, key: str) -> str:
    """Return the kind of a verdict, without the distance to the mark."""
    if not outcome.entries(key):
        return outcome.state
    verdict = outcome.verdict(key)
    for kind in ("met", "**MISSED**"):
        if verdict.startswith(kind):
            return kind + " our own aim" * outcome.row.metrics[key].own
    return verdict.partition(",")[0] or "without a mark"


def _table(outcomes: Iterable[Outcome], quick: bool) -> Iterator[str]:
    heads = ["row", "system", "measured", "ours", "mark", "verdict", "our budget", "time"]
    if quick:
        heads = [head for head in heads if head not in ("mark", "verdict")]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for outcome in outcomes:
        for i, key in enumerate(outcome.row.metrics):
            once = [f"[{outcome.name}](#{outcome.name})", outcome.row.system]
            cost = [outcome.budget, outcome.time]
            held = [] if quick else [_mark(outcome.row.metrics[key]), outcome.verdict(key)]
            cells = [*(once if not i else ["", ""]), METRICS[key], outcome.ours(key), *held]
            yield f"| {' | '.join([*cells, *(cost if not i else ['', ''])])} |"
    yield ""


def _rows(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Describe how each row was trained, measured and published."""
    for outcome in outcomes:
        yield from ("", f"### {outcome.name}", "", f"{outcome.row.system}.", "")
        yield from (f"- {line}" for line in _details(outcome))


def _details(outcome: Outcome) -> Iterator[str]:
    yield from _marks(outcome)
    yield from _measured(outcome)
    yield from _made(outcome)


def _marks(outcome: Outcome) -> Iterator[str]:
    for key, mark in outcome.row.metrics.items():
        if mark.published is not None:
            parts = [mark.protocol, mark.budget and f"trained for {mark.budget}", mark.caveat]
            after = "; ".join(part for part in parts if part)
            yield (
                f"mark of {METRICS[key]}: {mark.published:g}, {mark.whose}"
                + f"; {after}" * bool(after)
            )


def _measured(outcome: Outcome) -> Iterator[str]:
    for key in outcome.row.metrics:
        said: dict[str, list[int]] = {}
        for seed, entry in outcome.entries(key).items():
            text = f"{entry.get('unit', '')}, {_protocol(entry['protocol'])}"
            said.setdefault(text, []).append(seed)
        for text, seeds in said.items():
            of = f", {'seeds' if len(seeds) > 1 else 'seed'} {', '.join(map(str, seeds))}"
            yield f"{METRICS[key]}{of * (len(said) > 1)}: {text}"


def _made(outcome: Outcome) -> Iterator[str]:
    if outcome.runs:
        versions = dict.fromkeys(
            ", ".join(f"{k} {v}" for k, v in r.get("versions", {}).items()) for r in outcome.records
        )
        machine = f"{outcome.recorded('device')}, threads: {outcome.recorded('threads')}"
        yield f"ours: {outcome.budget}; {outcome.time or 'time unknown'}; on {machine}"
        yield f"commit {outcome.recorded('commit')}; {'; '.join(versions)}"
    if note := outcome.recorded("note"):
        yield note
    for seed, reason in outcome.failures.items():
        yield f"**FAILED**, seed {seed}: {reason}"
    each = "|".join(map(str, outcome.row.seeds))
    needs = [f"--{option} RUN-of-{row}" for option, row in outcome.row.needs.items()]
    words = outcome.shelf.words(outcome.name)
    yield f"`lab fit {' '.join([*words, *needs])} --seed_everything {each}`"
    arguments = [f"--{key} {value}" for key, value in outcome.row.evaluate.items()]
    yield f"`{' '.join(['lab evaluate RUN', *arguments])}`"


def _mark(mark: Mark) -> str:
    if mark.published is None:
        return ""
    allowed = f" ± {mark.tolerance:g}" if mark.tolerance else ""
    return f"{mark.goal} {mark.published:g}{allowed}, {mark.whose}"


def _protocol(text: str) -> str:
    """Return a protocol without the measured file; the row has the commit."""
    return ", ".join(part for part in text.split(", ") if not part.startswith("checkpoint"))
