"""`lab compare`: compare runs in the terminal or on one page."""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from vae_lab.errors import LabError
from vae_lab.evaluations import drop_outdated
from vae_lab.files import write_text
from vae_lab.runs import Run, expand
from vae_lab.verbs.comparing.comparison import Comparison
from vae_lab.verbs.comparing.grouping import Groups, check_over
from vae_lab.verbs.comparing.page import curves_of, page
from vae_lab.verbs.options import at_least, ends_in
from vae_lab.verbs.terminal import Terminal

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["compare"]


def compare(
    runs: list[str],
    html: str | None = None,
    metric: str | None = None,
    best: int | None = None,
    over: str | None = None,
    curves: str | None = None,
) -> None:
    """Tabulate runs: the settings that differ, their validation metrics and their scores.

    The best number of each metric is bold if all were measured on the same images. Metrics of
    training have the best value over epochs, and the last. Scores are left out if the evaluated
    checkpoint has other weights by now.

    Args:
        runs: Run folders, experiment folders (all their versions), a folder of experiments such
            as a sweep's, or patterns of those, `**` for any depth.
        html: File for a self-contained page with sortable tables, parallel coordinates, curves,
            and pictures at the same step.
        metric: Metric to sort by, such as val/elbo, best first; by default the first metric, other
            than a loss, that all runs have and that was measured on the same images.
        best: Number of runs to keep, the best by that metric; with `over`, number of rows.
        over: Settings such as seed_everything or data.limit_seed, separated by commas. Runs that
            differ in nothing else share a row: mean ± standard deviation over the runs.
        curves: PNG for the ELBO of training and validation against images seen, or for the loss if
            a run has no ELBO: one panel per run, in the order given.

    Raises:
        LabError: If there is no such run, metric, setting or curve, no metric ranks the runs, every
            run has a damaged file, or a file cannot be written.
    """
    ends_in(".html", html=html)
    ends_in(".png", curves=curves)
    found = list(_sound(expand(runs)))
    if not found:
        raise LabError("No run is left to compare.")
    apart = None if over is None else over.split(",")
    check_over(apart or (), found)
    comparison = Comparison(found, metric)
    if best is not None:
        found = _best(comparison, best, found, apart)
        comparison = Comparison(found, metric or comparison.sorted_by)
    groups = None if apart is None else Groups(comparison, apart)
    # All are made before any is written, so that an error leaves no file behind.
    writes: list[Callable[[], None]] = []
    if html is not None:
        writes.append(partial(write_text, html, page(comparison, groups)))
    if curves is not None:
        from vae_lab.pictures import save_png

        writes.append(partial(save_png, _curves(comparison, found), curves))
    for write in writes:
        write()
    # Last, as the reader of a pipe may close it at any line.
    _print(groups or comparison)
    for path in filter(None, (html, curves)):
        print(path)


def _sound(found: Sequence[Run]) -> Iterator[Run]:
    """Leave out runs with a damaged file, and print which.

    Also print which runs have no settings, and which scores are of replaced weights.
    """
    for run in found:
        try:
            _ = run.evaluation, run.epoch_ends
            _leave_outdated(run)
            if not run.config:
                print(f"lab compare: {run.path} does not say its settings.", file=sys.stderr)
            yield run
        except LabError as error:
            print(f"lab compare: {run.path} is left out: {error}", file=sys.stderr)


def _leave_outdated(run: Run) -> None:
    """Drop the scores of weights that a run no longer has, and print which."""
    for split, checkpoint in drop_outdated(run):
        print(
            f"lab compare: {run.path} is shown without its {split} scores: they are of other "
            f"weights than {checkpoint} holds by now.",
            file=sys.stderr,
        )


def _best(
    comparison: Comparison, n: int, order: Sequence[Run], over: Sequence[str] | None
) -> list[Run]:
    """Return the runs of the `n` best rows, in the order given.

    All runs of a row are kept, as the mean of the best ones would be biased.
    """
    at_least(1, best=n)
    key = comparison.sorted_by
    if key is None:
        raise LabError(
            "No metric but a loss, if any, was measured alike for all runs; name one by --metric."
        )
    column = next(c for c in comparison.columns if c.key == key)
    if not (column.direction and column.comparable):
        why = "was not measured alike for all" if column.direction else "ranks nobody"
        raise LabError(f"No run is the best by {key}, which {why}; name another --metric.")
    rows = [[run] for run in comparison.runs]
    if over is not None:
        rows = Groups(comparison, over).runs
    kept = {run.path for row in rows[:n] for run in row}
    return [run for run in order if run.path in kept]


def _curves(comparison: Comparison, order: Sequence[Run]) -> "Tensor":
    """Draw the bound or the loss, one panel per run."""
    from vae_lab.pictures import Panel, panels

    drawn, axis = curves_of(order)
    # The unit of a loss depends on the model.
    name, unit = ("elbo", ", nats") if all(drawn.get("val/elbo", [[]])) else ("loss", "")
    kinds = {"train": f"train/{name}", "validation": f"val/{name}"}
    runs = []
    for i, run in enumerate(order):
        curves = {kind: drawn[key][i] if key in drawn else [] for kind, key in kinds.items()}
        if not any(curves.values()):
            raise LabError(f"{run.path} has neither an ELBO nor a loss to draw; leave it out.")
        runs.append(Panel(_title(comparison, run), curves))
    column = next((c for c in comparison.columns if c.key == f"val/{name} (last)"), None)
    shared = column is not None and column.ranks
    return panels(runs, f"{name}{unit}", axis, shared)


def _title(comparison: Comparison, run: Run) -> str:
    """Return the settings by which a run differs, or its name if they would be long."""
    i = comparison.runs.index(run)
    differs = ", ".join(f"{key} {texts[i]}" for key, texts in comparison.settings.items())
    return differs if 0 < len(differs) <= 40 else comparison.names[i]


def _print(comparison: Comparison | Groups) -> None:
    console = Terminal(wide=True)
    names = _Cells("run", [Text(name) for name in comparison.names], "left")
    columns = [*_settings(comparison), *_metrics(comparison)]
    for group in _groups(columns, console.width - names.width):
        console.print(_table([names, *group]))
    if comparison.sorted_by:
        console.print(f"Sorted by {comparison.sorted_by}.", markup=False)


class _Cells(NamedTuple):
    header: str
    cells: Sequence[Text]
    justify: Literal["left", "right"]

    @property
    def width(self) -> int:
        lines = [*self.header.split("\n"), *(cell.plain for cell in self.cells)]
        return max(map(len, lines)) + 3  # two spaces of padding and the box's own


def _settings(comparison: Comparison | Groups) -> Iterator[_Cells]:
    for key, texts in comparison.settings.items():
        cells = [Text(text if len(text) <= 24 else f"{text[:23]}…") for text in texts]
        yield _Cells(_broken(key), cells, "right")


def _metrics(comparison: Comparison | Groups) -> Iterator[_Cells]:
    for c in comparison.columns:
        styles = ["bold" if v is not None and v == c.best else "" for v in c.values]
        cells = [Text(text, style) for text, style in zip(c.texts, styles, strict=True)]
        yield _Cells(_broken(c.key), cells, "right")


def _broken(key: str) -> str:
    """Break a name into lines about as wide as the numbers below it."""
    return key.replace("/", "/\n").replace("_", "_\n").replace(" ", "\n")


def _groups(columns: Sequence[_Cells], width: int) -> Iterator[list[_Cells]]:
    group: list[_Cells] = []
    for column in columns:
        if group and sum(c.width for c in [*group, column]) > width:
            yield group
            group = []
        group.append(column)
    yield group


def _table(columns: Sequence[_Cells]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for column in columns:
        table.add_column(Text(column.header), justify=column.justify, no_wrap=True)
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*row)
    return table
