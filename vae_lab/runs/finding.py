"""Find runs and checkpoints by path, by pattern, or by an experiment's folder."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from glob import glob
from itertools import chain
from pathlib import Path
from typing import Literal, TypeVar

from vae_lab.errors import LabError
from vae_lab.runs.run import Run

__all__ = [
    "by_name",
    "check",
    "check_exists",
    "checkpoint_of",
    "expand",
    "find",
    "find_all",
    "missing",
    "named",
    "names_of",
    "version_of",
]

Found = TypeVar("Found")

_MARKS = ("config.yaml", "checkpoints", "metrics.csv")
# The folder of what is named without one, by the name's suffix.
_USUAL = {"": Path("runs"), ".yaml": Path("experiments")}


def find(path: str | Path) -> Run:
    """Find a run by its folder, its experiment's folder (the newest version) or a checkpoint.

    Raises:
        LabError: If there is no such run.
    """
    path = Path(path)
    if path.is_file():
        for folder in path.resolve().parents[:2]:
            if _is_run(folder):
                return Run(folder)
        raise LabError(f"{path} does not lie in a run folder.")
    return max(_runs_in(path, depth=1), key=lambda run: _age(run.path))


def find_all(path: str | Path) -> list[Run]:
    """Find a run by its folder, or all runs of an experiment's folder or of a folder of those.

    Raises:
        LabError: If there is none.
    """
    path = Path(path)
    return [find(path)] if path.is_file() else _runs_in(path, depth=2)


def expand(patterns: Iterable[str]) -> list[Run]:
    """Find the runs of all that is named, by itself or by a pattern such as `runs/**`, each once.

    Raises:
        LabError: If something named holds no run.
    """
    found: dict[Path, Run] = {}
    for pattern in patterns:
        if Path(pattern).exists():
            groups = [find_all(pattern)]
        else:
            groups = [runs for _, runs in _matching(pattern, find_all)]
        for run in chain(*groups):
            found.setdefault(run.path.resolve(), run)
    return list(found.values())


def check(patterns: Iterable[str]) -> None:
    """Refuse what cannot be a run, before anything slow is done.

    Raises:
        LabError: If a path does not exist or is a file of settings, or nothing matches a pattern.
    """
    for pattern in patterns:
        check_exists(pattern)
        if pattern.endswith((".yaml", ".yml")) and Path(pattern).is_file():
            raise LabError(
                f"{pattern} holds settings, not a run; `lab fit --config FILE` makes a run of an "
                "experiment's."
            )


def check_exists(pattern: str) -> None:
    """Refuse a path that does not exist, and a pattern that matches nothing.

    Raises:
        LabError: If it is one.
    """
    if not Path(pattern).exists() and not glob(pattern, recursive=True):
        raise missing(Path(pattern))


def names_of(words: Sequence[str | Path]) -> list[str]:
    """Name each run by experiment and version, or as it was given where two names would be equal.

    A checkpoint that lies in no run folder is named by its file.
    """
    names = [_name(Path(word)) for word in words]
    counts = Counter(names)
    return [
        name if counts[name] == 1 else str(word) for name, word in zip(names, words, strict=True)
    ]


def _name(path: Path) -> str:
    with suppress(LabError):
        return find(path).name
    return path.name


def named(patterns: Iterable[str]) -> list[str]:
    """Replace each pattern by the folders of runs and experiments that it matches, each once.

    Raises:
        LabError: If a pattern matches none.
    """
    return [name for pattern in patterns for name in _named(pattern)]


def _named(pattern: str) -> list[str]:
    if Path(pattern).exists():
        return [pattern]
    found: dict[Path, str] = {}
    for path, run in _matching(pattern, find):
        found.setdefault(run.path.resolve(), str(path))
    return list(found.values())


def _matching(pattern: str, look: Callable[[Path], Found]) -> list[tuple[Path, Found]]:
    """Return the paths that a pattern matches, with what `look` finds there, if it finds runs."""
    paths = sorted(map(Path, glob(pattern, recursive=True)), key=by_name)
    if not paths:
        raise missing(Path(pattern))
    found = []
    for path in paths:
        # The pattern also matches what a sweep writes beside its runs, or a run within its folder.
        with suppress(LabError):
            found.append((path, look(path)))
    if not found:
        raise LabError(f"{pattern} matches no run; `lab fit --config FILE` makes one.")
    return found


def _runs_in(path: Path, depth: int) -> list[Run]:
    if not path.exists():
        raise missing(path)
    if runs := [Run(folder) for folder in _folders(path, depth)]:
        return runs
    if deeper := next(_folders(path, depth + 1), None):
        raise LabError(f"{path} holds experiments, not runs; name one, such as {deeper.parent}.")
    raise LabError(f"{path} holds no run; `lab fit --config FILE` makes one.")


def _folders(path: Path, depth: int) -> Iterator[Path]:
    if _is_run(path):
        yield path
    elif depth:
        for child in sorted((p for p in path.iterdir() if p.is_dir()), key=by_name):
            yield from _folders(child, depth - 1)


def _is_run(path: Path) -> bool:
    return any((path / mark).exists() for mark in _MARKS)


def by_name(path: str | Path) -> list[str | int]:
    """Order 9 before 10."""
    return [int(t) if t.isdecimal() else t for t in re.split(r"(\d+)", str(path))]


def _age(path: Path) -> tuple[int, float, str]:
    """Order versions by their number, as copying changes dates; named ones by date, after them."""
    number = version_of(path)
    return (1, path.stat().st_mtime, path.name) if number is None else (0, number, "")


def version_of(path: Path) -> int | None:
    """Return the number in a run folder's name, or None if it has another name."""
    number = re.fullmatch(r"version_(\d+)", path.name)
    return int(number[1]) if number else None


def missing(path: Path, usual: Path | None = None) -> LabError:
    """Name what the user may have meant by a path that does not exist.

    Args:
        path: The path.
        usual: The folder that such files lie in, by default that of the path's suffix.
    """
    there = (usual or _USUAL.get(path.suffix, Path())) / path
    # A bare name hardly means what happens to lie in the current folder.
    first, second = (there, path) if path.name == str(path) else (path, there)
    near = _near(first) or _near(second)
    return LabError(
        f"There is no {path}" + (f"; did you mean {' or '.join(near)}?" if near else ".")
    )


def _near(path: Path) -> list[str]:
    """Return a path if it exists, else those whose names are close to its first missing part."""
    if path.exists():
        return [str(path)]
    while not path.parent.exists():
        path = path.parent
    names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    return [str(path.parent / name) for name in get_close_matches(path.name, names)]


def checkpoint_of(path: str | Path, which: Literal["best", "last"] = "best") -> Path:
    """Find a checkpoint by itself, or by its run or experiment as `find` and `Run.checkpoint` do.

    Raises:
        LabError: If there is none.
    """
    path = Path(path)
    if path.suffix == ".ckpt" and not path.exists():
        raise missing(path)
    return path if path.is_file() else find(path).checkpoint(which)
