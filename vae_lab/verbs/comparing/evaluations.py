"""Which evaluations of a run are of weights that it no longer has."""

from collections.abc import Iterator

from vae_lab.files import digest
from vae_lab.runs import Run

__all__ = ["outdated"]


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
