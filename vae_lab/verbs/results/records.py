"""What is kept of a measured run, without its weights: its settings, its cost and its numbers."""

import csv
import io
import json
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

from vae_lab.files import atomic
from vae_lab.runs import Run
from vae_lab.verbs.results.shelf import Shelf, damage

__all__ = ["keep"]


def keep(shelf: Shelf) -> None:
    """Put every measured run of a row on record, a small run folder beside the index.

    It is found as the run itself is, so that the table outlives the weights and says the same
    everywhere.

    Raises:
        LabError: If a record cannot be written.
    """
    for name, row in shelf.index.rows.items():
        for seed in row.seeds:
            run = shelf.find(name, seed, weights=True)
            if run and run.finished and shelf.evaluated(name, run) and not damage(run):
                _keep(run, shelf.index.records / name / str(shelf.weights(run)), row.needs)
    shelf.look()


def _keep(run: Run, folder: Path, needs: Iterable[str]) -> None:
    import yaml

    record = {key: value for key, value in run.record.items() if key != "command"}
    texts = {
        "config.yaml": yaml.safe_dump(_settings(run, needs), sort_keys=False),
        "run.json": json.dumps(record, indent=1),
        "metrics.json": json.dumps(run.evaluation, indent=1),
        "metrics.csv": _ends(run.path / "metrics.csv"),
    }
    for file, text in texts.items():
        with atomic(folder / file) as target:
            target.write(f"{text.rstrip()}\n".encode())


def _settings(run: Run, needs: Iterable[str]) -> dict[str, Any]:
    """Return the settings of a run, without the machine's folders."""
    config = deepcopy(run.config)
    config.pop("runs", None)
    config["data"].get("init_args", {}).pop("root", None)
    arguments = config["model"]["init_args"]
    for option in needs:
        argument = option.removeprefix("model.")
        arguments[argument] = str(Path(*Path(arguments[argument]).parts[-4:]))
    return config


def _ends(path: Path) -> str:
    """Return the curves of a run, of each epoch the last row."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines)
        ends = {row["epoch"]: row for row in rows}
    text = io.StringIO()
    writer = csv.DictWriter(text, rows.fieldnames or [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(ends.values())
    return text.getvalue()
