"""What a run was made with and what it cost, for whoever has to believe its numbers."""

import json
import os
import platform
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from vae_lab import process
from vae_lab.files import atomic
from vae_lab.provenance import commit

__all__ = ["Record"]


class Record(Callback):
    """Writes `run.json`: command, commit, versions, hardware, time, speed, peak memory."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._folder = trainer.log_dir if trainer.loggers else None
        self._begun = time.time()
        self._seen = _images_seen(pl_module)
        for logger in trainer.loggers:
            if not isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(settings(trainer))
        self._write(trainer, {"finished": False})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seconds = time.time() - self._begun
        images = _images_seen(pl_module) - self._seen
        best = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                last = {f"last/{name}": value for name, value in best.items()}
                logger.log_hyperparams(settings(trainer), last)
        cost = {"seconds": round(seconds, 1), "images_per_second": round(images / seconds)}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self._write(trainer, {"finished": True, **cost, "peak_memory_mib": round(peak)})

    def _write(self, trainer: Trainer, outcome: dict[str, Any]) -> None:
        if self._folder is None or not trainer.is_global_zero:
            return
        path = Path(self._folder) / "run.json"
        record = {**self._circumstances(trainer), **outcome}
        with atomic(path) as file:
            file.write(json.dumps(record, indent=1).encode() + b"\n")

    def _circumstances(self, trainer: Trainer) -> dict[str, Any]:
        return {
            "command": ["lab", *sys.argv[1:]],
            "started": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._begun)),
            "commit": commit(),
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


def _images_seen(model: LightningModule) -> int:
    return int(getattr(model, "images_seen", 0))


def settings(trainer: Trainer) -> dict[str, Any]:
    """Return the settings of model and data, as the loggers take them."""
    model, data = trainer.lightning_module, getattr(trainer, "datamodule", None)
    known: dict[str, Any] = {"model": _named(model)}
    if isinstance(data, LightningDataModule):
        known["data"] = _named(data)
    return known


def _named(part: LightningModule | LightningDataModule) -> dict[str, Any]:
    given = {k: v for k, v in part.hparams.items() if not k.startswith("_")}
    return {"class": type(part).__name__, **given}


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
