"""`lab results`: the published table and its figures, re-made from the experiments."""

import os
from pathlib import Path
from tempfile import TemporaryFile

from vae_lab.errors import LabError
from vae_lab.files import expanded, write_text
from vae_lab.verbs.options import at_least
from vae_lab.verbs.results.digits import quick as on_digits
from vae_lab.verbs.results.figures import draw, figures_page
from vae_lab.verbs.results.index import read
from vae_lab.verbs.results.page import page
from vae_lab.verbs.results.records import keep
from vae_lab.verbs.results.shelf import Shelf
from vae_lab.verbs.results.training import Queue, wanted

__all__ = ["results"]


def results(
    names: tuple[str, ...] = (),
    quick: bool = False,
    page_only: bool = False,
    workers: int | None = None,
    root: str | None = None,
    output: str | None = None,
    figures: str | None = None,
    index: str = "experiments/results",
) -> None:
    """Train and evaluate what the published table lacks, and write the table and its figures.

    A run counts for a row if its settings are the row's as they are today, whoever made it, and
    its evaluation if it is of the run's own weights; the commit stands beside each number. What
    was measured stays on record beside the index and counts after the run is gone. Killed
    trainings go on from their last checkpoint at the next call, and what fails is written down as
    failed.

    Args:
        names: Rows of the table, or groups of them, to train here even if their numbers are on
            record, and with them what they need; by default all that are not on record.
        quick: Train a few epochs on the embedded digits instead, in a folder and on pages of their
            own, and compare nothing with published numbers.
        page_only: Train and evaluate nothing; write the pages of what is there.
        workers: How many train at once, one thread each; by default one a core.
        root: Folder of the runs; by default runs/results, or runs/quick.
        output: The table's page; by default RESULTS.md, with `quick` among the runs.
        figures: The figures' page; by default docs/figures.md, with `quick` among the runs. The
            pictures go to a folder of its name beside it.
        index: Folder that says what the rows and figures are.

    Raises:
        LabError: If the index is wrong, there is no such row, a page cannot be written, or, once
            all else is done, a training or an evaluation failed.
    """
    table = read(index)
    chosen = table.chosen(names)
    place = expanded(root or ("runs/quick" if quick else "runs/results"))
    pages = [
        Path(output or (place / "RESULTS.md" if quick else "RESULTS.md")),
        Path(figures or (place / "figures.md" if quick else "docs/figures.md")),
    ]
    titles = [f"# {what}{' of the embedded digits' * quick}" for what in ("Results", "Figures")]
    at_least(1, workers=workers)
    workers = workers or os.cpu_count() or 1
    for path, title in zip(pages, titles, strict=True):
        _check(path, title)
        _check_place(path.parent)
    shelf = Shelf(on_digits(table) if quick else table, place)
    queue = Queue(shelf, [] if page_only else wanted(shelf, chosen, table.named(names)))
    try:
        queue.run(workers)
    finally:
        # Also after Ctrl-C: what was finished until then is kept.
        _write(pages[0], page(shelf, titles[0], quick, os.path.relpath(pages[1], pages[0].parent)))
        keep(shelf)
    folder = pages[1].with_suffix("")
    missing = draw(shelf, folder, workers)
    _write(pages[1], figures_page(shelf, titles[1], missing, folder.name))
    if queue.failed:
        raise LabError(f"{len(queue.failed)} failed: {'; '.join(map(str, queue.failed))}.")


def _check(path: Path, title: str) -> None:
    """Refuse to write over a page of another kind: digits say nothing of real data."""
    found = None
    try:
        found = path.read_text(encoding="utf-8").partition("\n")[0]
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError):  # a folder, or no text
        pass
    if found != title:
        raise LabError(f"{path} is no page called {title!r}: name another file.")


def _check_place(folder: Path) -> None:
    """Refuse a folder that takes no page, before hours of training are to be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise LabError(f"{folder} takes no page: {error.strerror}.") from error


def _write(path: Path, lines: list[str]) -> None:
    write_text(path, "\n".join([*lines, ""]))
    print(path)
