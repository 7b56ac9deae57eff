"""Which evaluations of a run are of weights that it no longer has."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vae_lab.errors import LabError
from vae_lab.files import digest, write_text
from vae_lab.runs import Run

__all__ = ["drop_outdated", "forget_outdated"]


def drop_outdated(run: Run) -> list[tuple[str, str]]:
    """Take from a run the scores of weights that it no longer has.

    Returns:
        Their splits, each with the checkpoint that holds other weights by now.

    Raises:
        LabError: If the evaluation is damaged, or a checkpoint cannot be read.
    """
    protocols, metrics = run.evaluation["protocol"], run.evaluation["metrics"]
    dropped = list(_outdated(run))
    for split, _ in dropped:
        del protocols[split]
        for key in [key for key in metrics if key.startswith(f"{split}/")]:
            del metrics[key]
    return dropped


def forget_outdated(folder: Path) -> None:
    """Remove from a run's file the scores of weights that training has replaced, and say so."""
    run, path = Run(folder), folder / "metrics.json"
    dropped: list[tuple[str, str]] = []
    with suppress(LabError):  # a damaged one is named to whoever asks for its numbers
        dropped = drop_outdated(run)
    for split, checkpoint in dropped:
        print(f"lab fit: {path} loses its {split} scores: {checkpoint} holds other weights.")
    if dropped and run.evaluation["metrics"]:
        write_text(path, json.dumps(run.evaluation, indent=2) + "\n")
    elif dropped:
        path.unlink()


def _outdated(run: Run) -> Iterator[tuple[str, str]]:
    """Yield each split that was scored by other weights than its checkpoint holds, and that one.

    A checkpoint that is gone speaks against no number.
    """
    for split, about in run.evaluation["protocol"].items():
        name, known = str(about.get("checkpoint")), about.get("checkpoint_sha256")
        path = run.path / name
        if known and path.is_file() and digest(path) != known:
            yield split, name
