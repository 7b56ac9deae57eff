"""The record of a run: what it was made with, and what it cost."""

import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from vae_lab import process
from vae_lab.files import digest, write_text
from vae_lab.provenance import commit
from vae_lab.runs import Run

__all__ = ["Record"]


class Record(Callback):
    """Writes `run.json`: command, commits, versions, hardware, files, time, speed, peak memory.

    Time and commits are saved in each checkpoint, so that a resumed run includes all sessions that
    led to its weights, also killed ones. Speed and memory are those of the latest session.

    Args:
        source: The checkpoint that the model starts from, whose digest is recorded.
    """

    def __init__(self, source: Path | None = None) -> None:
        self._source = source
        self._before, self._commits, self._begun = 0.0, list[str](), time.time()

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self._seconds(), "commits": self._commits}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before, self._commits = state_dict["seconds"], list(state_dict["commits"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._folder = trainer.log_dir if trainer.loggers else None
        self._earlier = Run(Path(self._folder)).record if self._folder else {}
        # A session that was not killed went on after its last checkpoint.
        self._before = max(self._before, self._earlier.get("seconds", 0.0))
        self._commits = list(dict.fromkeys([*self._commits, *filter(None, [commit()])]))
        # Computed at the start, as training may replace the file.
        self._source_sha256 = digest(self._source) if self._source else None
        self._begun = time.time()
        self._seen = _images_seen(pl_module)
        for logger in trainer.loggers:
            logger.log_hyperparams(settings(trainer))
        _tell_boards(trainer, "start")
        self._write(trainer, {"finished": False})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        images = _images_seen(pl_module) - self._seen
        _tell_boards(trainer, "end")
        cost = {
            "seconds": round(self._seconds(), 1),
            "peak_memory_mib": _peak_memory(),
        }
        if images:  # no speed if no image was seen in this session
            cost["images_per_second"] = round(images / (time.time() - self._begun))
        self._write(trainer, {"finished": True, **cost})

    def _seconds(self) -> float:
        return self._before + time.time() - self._begun

    def _write(self, trainer: Trainer, outcome: dict[str, Any]) -> None:
        if self._folder is None or not trainer.is_global_zero:
            return
        path = Path(self._folder) / "run.json"
        kept = {"command", "started", "source_sha256"} & self._earlier.keys()
        begun: dict[str, Any] = {key: self._earlier[key] for key in kept}
        record = {**self._circumstances(trainer), **begun, **outcome}
        write_text(path, json.dumps(record, indent=1) + "\n")

    def _circumstances(self, trainer: Trainer) -> dict[str, Any]:
        return {
            "command": ["lab", *sys.argv[1:]],
            "started": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._begun)),
            "commit": ", ".join(self._commits) or None,
            "source_sha256": self._source_sha256,
            "listing": getattr(getattr(trainer, "datamodule", None), "listing", None),
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "lightning": lightning.__version__,
            },
            "device": _device(trainer.strategy.root_device),
            "processes": trainer.world_size,
            "threads": torch.get_num_threads(),
            "tuned": process.applied(),
        }


def _tell_boards(trainer: Trainer, moment: Literal["start", "end"]) -> None:
    """Write the start or end of this run to TensorBoard's table of hyperparameters.

    Lightning would also write the table's columns, which TensorBoard then uses for all runs:
    settings and metrics of other models would be missing.
    """
    from torch.utils.tensorboard.summary import hparams

    boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    known = dict(_flat(settings(trainer)))
    # torch annotates none of its TensorBoard functions, and mypy's strict mode refuses their calls.
    _, start, end = hparams(known, {})  # type: ignore[no-untyped-call]
    for board in boards if trainer.is_global_zero else ():
        board.experiment.file_writer.add_summary(start if moment == "start" else end)


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting by its path, as a number or text; None is left out."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{key}/{name}".strip("/"))
    elif value is not None:
        yield key, value if isinstance(value, int | float | str) else str(value)


def _images_seen(model: LightningModule) -> int:
    return int(getattr(model, "images_seen", 0))


def settings(trainer: Trainer) -> dict[str, Any]:
    """Return the settings of model and data for the loggers."""
    model, data = trainer.lightning_module, getattr(trainer, "datamodule", None)
    known: dict[str, Any] = {"model": _named(model)}
    if isinstance(data, LightningDataModule):
        known["data"] = _named(data)
    return known


def _named(part: LightningModule | LightningDataModule) -> dict[str, Any]:
    given = {k: v for k, v in part.hparams.items() if not k.startswith("_")}
    return {"class": type(part).__name__, **given}


def _peak_memory() -> int | None:
    """Return this process's peak memory in MiB, if the system counts it."""
    with suppress(ImportError):
        import resource

        unit = 2**20 if sys.platform == "darwin" else 2**10
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)
    return None


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {os.cpu_count()} cores"


def _processor() -> str:
    with suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
