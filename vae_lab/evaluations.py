"""Evaluations of weights that a run no longer has."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vae_lab.errors import LabError
from vae_lab.files import digest, write_text
from vae_lab.runs import Run

__all__ = ["drop_outdated", "forget_outdated"]


def drop_outdated(run: Run) -> list[tuple[str, str]]:
    """Remove the scores of weights that a run no longer has, in memory.

    Returns:
        Their splits, each with the checkpoint that has other weights by now.

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
    """Remove the scores of replaced weights from a run's file, and print which."""
    run, path = Run(folder), folder / "metrics.json"
    dropped: list[tuple[str, str]] = []
    with suppress(LabError):  # a damaged file is reported when its numbers are needed
        dropped = drop_outdated(run)
    for split, checkpoint in dropped:
        print(f"lab fit: {path} loses its {split} scores: {checkpoint} holds other weights.")
    if dropped and run.evaluation["metrics"]:
        write_text(path, json.dumps(run.evaluation, indent=2) + "\n")
    elif dropped:
        path.unlink()


def _outdated(run: Run) -> Iterator[tuple[str, str]]:
    """Yield each split whose scores are of other weights than its checkpoint, and that checkpoint.

    Scores of a missing checkpoint are kept.
    """
    for split, about in run.evaluation["protocol"].items():
        name, known = str(about.get("checkpoint")), about.get("checkpoint_sha256")
        path = run.path / name
        if known and path.is_file() and digest(path) != known:
            yield split, name
