"""`lab results`: re-make the published table and its figures from the experiments."""

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
    """Train and evaluate missing rows of the published table, and write it and its figures.

    A run belongs to a row if its settings are the row's current ones, whoever made it; its
    evaluation must be of the run's current weights. The commit is printed with each number.
    Measured numbers are kept beside the index, and count after the run is deleted. Killed trainings
    are resumed at the next call, and failures are listed.

    Args:
        names: Rows or groups of rows to train, with the rows that they need, even if their numbers
            are recorded; by default all without recorded numbers.
        quick: Train a few epochs on the embedded digits instead, in a separate folder with separate
            pages, without comparison with published numbers.
        page_only: Write the pages only, without training and evaluation.
        workers: Number of trainings at once, one thread each; by default one per core.
        root: Folder of the runs; by default runs/results, or runs/quick.
        output: File of the table; by default RESULTS.md, with `quick` among the runs.
        figures: File of the figures' page; by default docs/figures.md, with `quick` among the runs.
            Pictures go to a folder of that name beside it.
        index: Folder that defines the rows and figures.

    Raises:
        LabError: If the index is invalid, there is no such row, a page cannot be written, or, after
            everything else, a training or an evaluation failed.
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
        # Also after Ctrl-C, to keep what is finished.
        _write(pages[0], page(shelf, titles[0], quick, os.path.relpath(pages[1], pages[0].parent)))
        keep(shelf)
    folder = pages[1].with_suffix("")
    missing = draw(shelf, folder, workers)
    _write(pages[1], figures_page(shelf, titles[1], missing, folder.name))
    if queue.failed:
        raise LabError(f"{len(queue.failed)} failed: {'; '.join(map(str, queue.failed))}.")


def _check(path: Path, title: str) -> None:
    """Refuse to overwrite a file that is not such a page."""
    found = None
    try:
        found = path.read_text(encoding="utf-8").partition("\n")[0]
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError):  # a folder, or not text
        pass
    if found != title:
        raise LabError(f"{path} is no page called {title!r}: name another file.")


def _check_place(folder: Path) -> None:
    """Refuse a folder that is not writable, before hours of training."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise LabError(f"{folder} takes no page: {error.strerror}.") from error


def _write(path: Path, lines: list[str]) -> None:
    write_text(path, "\n".join([*lines, ""]))
    print(path)
