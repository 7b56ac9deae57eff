"""Records of measured runs without their weights: settings, cost and numbers."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from vae_lab.errors import LabError
from vae_lab.files import write_text
from vae_lab.runs import Run
from vae_lab.verbs.results.shelf import Shelf, damage

__all__ = ["keep"]


def keep(shelf: Shelf) -> None:
    """Record every measured run of a row, as a small run folder beside the index.

    Records are found like runs, so that the table does not need the weights and is the same
    everywhere. A run that cannot be recorded is reported and skipped.
    """
    if shelf.index.records is None:
        return
    for name, run in _measured(shelf):
        folder = shelf.index.records / name / str(shelf.weights(run))
        try:
            _keep(run, folder, shelf.index.rows[name].needs)
        except LabError as error:
            print(f"{run.name} is not on record: {error}", file=sys.stderr)
    shelf.look()


def _measured(shelf: Shelf) -> Iterator[tuple[str, Run]]:
    """Yield the evaluated runs of each row that have their weights."""
    for name, row in shelf.index.rows.items():
        for seed in row.seeds:
            run = shelf.find(name, seed, weights=True)
            if run and run.finished and shelf.evaluated(name, run) and not damage(run):
                yield name, run


def _keep(run: Run, folder: Path, needs: Iterable[str]) -> None:
    import yaml

    record = {key: value for key, value in run.record.items() if key != "command"}
    texts = {
        "config.yaml": yaml.safe_dump(_settings(run, needs), sort_keys=False),
        "run.json": json.dumps(record, indent=1),
        "metrics.json": json.dumps(run.evaluation, indent=1),
        "metrics.csv": _ends(run.rows),
    }
    for file, text in texts.items():
        write_text(folder / file, f"{text.rstrip()}\n")


def _settings(run: Run, needs: Iterable[str]) -> dict[str, Any]:
    """Return the settings of a run, without paths of the machine."""
    config = deepcopy(run.config)
    config.pop("runs", None)
    config["data"].get("init_args", {}).pop("root", None)
    for option in needs:
        argument = option.removeprefix("model.")
        place = config if argument == option else config["model"]["init_args"]
        place[argument] = str(Path(*Path(place[argument]).parts[-4:]))
    return config


def _ends(rows: Iterable[dict[str, float]]) -> str:
    """Return one row of the curves per epoch, with each column's last value."""
    ends: dict[float, dict[str, float]] = {}
    for row in rows:
        ends.setdefault(row.get("epoch", 0.0), {}).update(row)
    text = io.StringIO()
    columns = dict.fromkeys(key for row in ends.values() for key in row)
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(ends.values())
    return text.getvalue()
