"""The page of figures: each drawn by a verb from the runs of the table."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from vae_lab.files import atomic, digest
from vae_lab.runs import Run
from vae_lab.verbs.results.index import Figure
from vae_lab.verbs.results.shelf import Shelf
from vae_lab.verbs.workers import LAB, Workers, last_words

__all__ = ["draw", "figures_page"]

_READ = (
    *("config.yaml", "run.json", "metrics.json", "metrics.csv"),
    *("checkpoints/best.ckpt", "checkpoints/last.ckpt"),
)


def draw(shelf: Shelf, folder: Path, workers: int) -> dict[str, str]:
    """Draw the figures whose runs are there, but for those that were drawn of the same before.

    Args:
        shelf: Where the figures and the runs are.
        folder: Where the pictures go.
        workers: How many are drawn at once.

    Returns:
        For each figure that is not there, why.
    """
    missing: dict[str, str] = {}
    waiting: list[tuple[str, list[str], str]] = []
    for name, figure in shelf.index.figures.items():
        found = {row: shelf.first(row) for row in figure.rows}
        runs = [run for run in found.values() if run]
        if lacking := [row for row, run in found.items() if run is None]:
            missing[name] = f"no finished run of {', '.join(lacking)} yet"
            continue
        words = [*_words(figure, [str(run.path) for run in runs], str(folder))]
        words.append(f"--{figure.output}={folder / name}.png")
        origin = _origin(words, runs)
        if not _drawn(shelf, name, origin, words, folder):
            waiting.append((name, words, origin))
    pool = Workers()

    def work() -> None:
        while waiting and not pool.stopped:
            name, words, origin = waiting.pop()
            log = shelf.root / f"figure_{name}.log"
            with pool.process([*LAB, *words], log) as process:
                status = process.wait()
            if status:
                missing[name] = last_words(status, log)
            else:
                with atomic(_note(shelf, name)) as file:
                    file.write(origin.encode())

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


def _origin(words: list[str], runs: list[Run]) -> str:
    """Return a digest of the command that draws a figure, and of the files that it may read."""
    files = [run.path / file for run in runs for file in _READ]
    known = [*words, *(f"{file} {digest(file)}" for file in files if file.is_file())]
    return sha256("\n".join(known).encode()).hexdigest()


def _drawn(shelf: Shelf, name: str, origin: str, words: list[str], folder: Path) -> bool:
    """Tell whether all that a figure's command writes is there, and was drawn of just these."""
    outputs = [Path(value) for word in words if (value := word.partition("=")[2])]
    if not all(path.is_file() for path in outputs if path.parent == folder):
        return False
    with suppress(OSError):
        return _note(shelf, name).read_text(encoding="utf-8") == origin
    return False


def _note(shelf: Shelf, name: str) -> Path:
    return shelf.root / f"figure_{name}.drawn"
