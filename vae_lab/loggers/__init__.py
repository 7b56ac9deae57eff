"""Loggers of a run: TensorBoard, CSV and Weights & Biases."""

import atexit
from functools import partial
from pathlib import Path
from textwrap import shorten

from lightning.pytorch.loggers import Logger, TensorBoardLogger

from vae_lab.loggers.history import History
from vae_lab.loggers.wandb import Wandb

__all__ = ["History", "Wandb", "loggers"]


def loggers(folder: Path, wandb: str | None) -> list[Logger]:
    """Return the loggers of a run in `folder`, with W&B if `wandb` is `online` or `offline`."""
    root, name, version = folder.parent.parent, folder.parent.name, folder.name
    # Lightning takes the run's folder from the first logger.
    board = TensorBoardLogger(root, name, version, default_hp_metric=False)
    found: list[Logger] = [board, History(root, name, version)]
    if wandb is not None:
        found.append(_wandb(folder, offline=wandb == "offline"))
    return found


def _wandb(folder: Path, offline: bool) -> Logger:
    import wandb

    name = f"{folder.parent.name}/{folder.name}"
    # In seconds; without a network W&B would wait for it at the end.
    settings = wandb.Settings(init_timeout=20, finish_timeout=60, finish_timeout_raises=True)
    make = partial(Wandb, name, folder, project="vae_lab", settings=settings)
    try:
        if not offline and wandb.login(prompt=False, verify=False):
            logger = make(mode="online")
            _ = logger.experiment  # connects, or raises an error
            atexit.register(logger.end)
            return logger
        reason = "there is no key on this machine"
    except wandb.errors.Error as error:
        reason = shorten(str(error), 100)
    if not offline:
        print(f"lab fit: W&B logs offline, for {reason}; `wandb sync` sends it later.")
    return make(mode="offline")
