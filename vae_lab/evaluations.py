"""Which evaluations of a run are of weights that it no longer has."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vae_lab.errors import LabError
from vae_lab.files import digest
from vae_lab.runs import Run

__all__ = ["forget_outdated", "outdated"]


def outdated(run: Run) -> Iterator[tuple[str, str]]:
    """Yield each split whose numbers are of other weights than its checkpoint holds, and that one.

    A checkpoint that is gone speaks against no number.

    Raises:
        LabError: If the evaluation is damaged, or a checkpoint cannot be read.
    """
    for split, about in run.evaluation["protocol"].items():
        name, known = str(about.get("checkpoint")), about.get("checkpoint_sha256")
        path = run.path / name
        if known and path.is_file() and digest(path) != known:
            yield split, name


def forget_outdated(folder: Path) -> None:
    """Remove a run's numbers, and say so, if some are of weights that training has replaced."""
    path = folder / "metrics.json"
    with suppress(LabError):  # a damaged one is named to whoever asks for its numbers
        if any(outdated(Run(folder))):
            path.unlink()
            print(f"lab fit: {path} told of weights that are no more, and is removed.")
