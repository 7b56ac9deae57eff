"""The page of figures, each drawn by a verb from runs of the table."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from vae_lab.files import digest, write_text
from vae_lab.runs import Run
from vae_lab.verbs import workers as processes
from vae_lab.verbs.results.index import Figure
from vae_lab.verbs.results.shelf import Shelf

__all__ = ["draw", "figures_page"]

_READ = (
    *("config.yaml", "run.json", "metrics.json", "metrics.csv"),
    *("checkpoints/best.ckpt", "checkpoints/last.ckpt"),
)


def draw(shelf: Shelf, folder: Path, workers: int) -> dict[str, str]:
    """Draw the figures whose runs exist, unless they are up to date.

    A figure is kept after its runs are deleted, as long as they are recorded and its command is the
    same.

    Args:
        shelf: The figures and the runs.
        folder: Folder of the pictures.
        workers: Number of figures to draw at once.

    Returns:
        The reason for each missing figure.
    """
    notes, missing = _Notes(folder / "drawn.json"), dict[str, str]()
    waiting: list[_Drawing] = []
    for name, figure in shelf.index.figures.items():
        runs = {row: run for row in figure.rows if (run := shelf.first(row))}
        if lacking := [row for row in figure.rows if row not in runs]:
            if not notes.stands(shelf, name, folder):
                missing[name] = f"no finished run of {', '.join(lacking)} yet"
        elif not notes.drawn(drawing := _Drawing(name, figure, runs, folder)):
            waiting.append(drawing)
    pool = processes.Workers()

    def work() -> None:
        while not pool.stopped:
            try:
                drawing = waiting.pop()
            except IndexError:  # another thread took the last one
                return
            log = shelf.root / f"figure_{drawing.name}.log"
            with pool.process([*processes.LAB, *drawing.words], log) as process:
                status = process.wait()
            if status:
                missing[drawing.name] = processes.last_words(status, log)
            else:
                notes.add(shelf, drawing)

    if waiting:
        pool.run(workers, work)
    return missing


class _Drawing:
    """A figure with its runs, and the command that draws it."""

    def __init__(self, name: str, figure: Figure, runs: Mapping[str, Run], folder: Path) -> None:
        self.name, self.runs, self.folder = name, runs, folder
        self.command = _command(figure, folder.name)
        output = f"--{figure.output}={folder / name}.png"
        self.words = [*_words(figure, [str(r.path) for r in runs.values()], str(folder)), output]

    @property
    def outputs(self) -> list[Path]:
        """The files that the command writes."""
        paths = [Path(value) for word in self.words if (value := word.partition("=")[2])]
        return [path for path in paths if path.parent == self.folder]

    @property
    def origin(self) -> str:
        """A digest of the command and of its input files."""
        files = [run.path / file for run in self.runs.values() for file in _READ]
        known = [*self.words, *(f"{file} {digest(file)}" for file in files if file.is_file())]
        return sha256("\n".join(known).encode()).hexdigest()


class _Notes:
    """A file with the origin of each figure of a folder."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()
        self._known: dict[str, dict[str, Any]] = {}
        with suppress(OSError, ValueError):
            self._known = dict(json.loads(path.read_text(encoding="utf-8")))

    def add(self, shelf: Shelf, drawing: _Drawing) -> None:
        """Record the origin of a new figure."""
        weights = {row: shelf.weights(run) for row, run in drawing.runs.items()}
        note = {"command": drawing.command, "weights": weights, "origin": drawing.origin}
        with self._lock:
            self._known[drawing.name] = note
            write_text(self.path, f"{json.dumps(self._known, indent=1, sort_keys=True)}\n")

    def drawn(self, drawing: _Drawing) -> bool:
        """Return whether a figure and its other outputs exist and were drawn from these files."""
        if not all(path.is_file() for path in drawing.outputs):
            return False
        return self._known.get(drawing.name, {}).get("origin") == drawing.origin

    def stands(self, shelf: Shelf, name: str, folder: Path) -> bool:
        """Return whether a figure of recorded runs exists and has the current command.

        Other content, such as numbers of a later evaluation, may have changed since.
        """
        note, figure = self._known.get(name, {}), shelf.index.figures[name]
        if note.get("command") != _command(figure, folder.name):
            return False
        known = all(note["weights"].get(row) in shelf.known(row) for row in figure.rows)
        return known and (folder / f"{name}.png").is_file()


def figures_page(shelf: Shelf, title: str, missing: Mapping[str, str], folder: str) -> list[str]:
    """Return the page's lines.

    Args:
        shelf: The figures and the runs.
        title: The first line.
        missing: The reason for each missing figure.
        folder: Folder of the pictures, relative to the page.
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
        yield from ("", f"`{_command(figure, folder)}`{after}")


def _command(figure: Figure, folder: str) -> str:
    """Return the command that draws a figure, with rows instead of runs."""
    return f"lab {' '.join(_words(figure, figure.rows, folder))}"


def _words(figure: Figure, runs: list[str], folder: str) -> list[str]:
    return [figure.verb, *runs, *(word.replace("{folder}", folder) for word in figure.arguments)]
