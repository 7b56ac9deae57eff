"""The page of figures: each drawn by a verb from the runs of the table."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from vae_lab.runs import Run
from vae_lab.verbs.results.index import Figure
from vae_lab.verbs.results.shelf import Shelf
from vae_lab.verbs.workers import LAB, Workers, last_words

__all__ = ["draw", "figures_page"]


def draw(shelf: Shelf, folder: Path, workers: int) -> dict[str, str]:
    """Draw the figures whose runs are there, but for those that are newer than all they show.

    Args:
        shelf: Where the figures and the runs are.
        folder: Where the pictures go.
        workers: How many are drawn at once.

    Returns:
        For each figure that is not there, why.
    """
    missing: dict[str, str] = {}
    waiting: list[tuple[str, list[Run]]] = []
    for name, figure in shelf.index.figures.items():
        found = {row: shelf.first(row) for row in figure.rows}
        runs = [run for run in found.values() if run]
        if lacking := [row for row, run in found.items() if run is None]:
            missing[name] = f"no finished run of {', '.join(lacking)} yet"
        elif _stale(folder / f"{name}.png", [shelf.index.folder / "figures.yaml", *_weights(runs)]):
            waiting.append((name, runs))
    pool = Workers()

    def work() -> None:
        while waiting and not pool.stopped:
            name, runs = waiting.pop()
            figure, paths = shelf.index.figures[name], [str(run.path) for run in runs]
            words = [*_words(figure, paths, str(folder)), f"--{figure.output}={folder / name}.png"]
            log = shelf.root / f"figure_{name}.log"
            with pool.process([*LAB, *words], log) as process:
                status = process.wait()
            if status:
                missing[name] = last_words(status, log)

    if waiting:
        pool.run(workers, work)
    return missing


def figures_page(shelf: Shelf, title: str, missing: Mapping[str, str], folder: str) -> list[str]:
    """Return the page's lines.

    Args:
        shelf: Where the figures and the runs are.
        title: The first line.
        missing: For each figure that is not there, why.
        folder: Where the pictures are, as seen from the page.
    """
    return [
        title,
        "",
        "Drawn by `lab results`, each by the command below it from the runs of the rows it names.",
        *_entries(shelf.index.figures, missing, folder),
    ]


def _entries(
    figures: Mapping[str, Figure], missing: Mapping[str, str], folder: str
) -> Iterator[str]:
    for name, figure in figures.items():
        yield from ("", f"## {figure.title}", "")
        if name in missing:
            yield f"*Not drawn: {missing[name].rstrip('.')}.*"
        else:
            yield f"![{figure.title}]({folder}/{name}.png)"
        after = f". After {figure.source}." if figure.source else ""
        yield from ("", f"`lab {' '.join(_words(figure, figure.rows, folder))}`{after}")


def _words(figure: Figure, runs: list[str], folder: str) -> list[str]:
    return [figure.verb, *runs, *(word.replace("{folder}", folder) for word in figure.arguments)]


def _weights(runs: list[Run]) -> list[Path]:
    return [run.checkpoint() for run in runs]


def _stale(picture: Path, sources: list[Path]) -> bool:
    """Tell whether a picture is missing or older than something that it is drawn of."""
    if not picture.is_file():
        return True
    drawn = picture.stat().st_mtime
    return any(source.stat().st_mtime > drawn for source in sources)
