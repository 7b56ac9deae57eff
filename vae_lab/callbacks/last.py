"""The checkpoint from which a stopped run goes on."""

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from vae_lab.callbacks.best import Best
from vae_lab.contracts import Batch
from vae_lab.errors import LabError

__all__ = ["Last"]

# What a process has against going on without a checkpoint; where several differ, the most counts.
_NOTHING, _LATE, _TOLD = range(3)


class Last(ModelCheckpoint):
    """Saves `last.ckpt` at every epoch's end, in the middle of a long epoch, and before a stop.

    SIGTERM, by which schedulers and shutdowns announce a kill, is answered with a checkpoint after
    the step that it came in, gradients accumulated, or after a validation, by all processes if one
    of them gets it; SIGKILL costs at most the work since the latest one.

    Args:
        minutes: Training time between two checkpoints within an epoch.

    Raises:
        LabError: If `minutes` is not positive.
    """

    def __init__(self, minutes: float = 10.0) -> None:
        super().__init__(
            filename="last", enable_version_counter=False, save_on_train_epoch_end=True
        )
        if not minutes > 0:
            raise LabError(f"last.minutes must be above 0; it is {minutes}.")
        self.seconds = 60 * minutes

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at, self._saved_step = time.monotonic(), -1
        self._told = trainer.received_sigterm
        # Lightning's handler ends training wherever it is, and talks to the other processes at
        # once, in the middle of what they say. It puts back what was there before, not this.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._tell)

    def _tell(self, *_: object) -> None:
        self._told = True

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        # An epoch's last step is saved at its end; gradients that still accumulate never are.
        last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if last or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        urgency = self._urgency(trainer)
        if urgency or _ending(trainer):
            self._save(trainer)
        if urgency == _TOLD:
            raise SIGTERMException

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning calls this in the middle of an epoch too, if training ends there; what was
        # saved before still has the rest of the epoch to come.
        if trainer.global_step != self._saved_step:
            self._save(trainer)
        if self._urgency(trainer) == _TOLD:
            raise SIGTERMException

    def _urgency(self, trainer: Trainer) -> int:
        """Return the most urgent reason for a checkpoint that any process has."""
        late = time.monotonic() - self._saved_at >= self.seconds
        urgency = _TOLD if self._told else _LATE if late else _NOTHING
        if trainer.world_size == 1:
            return urgency
        every = torch.tensor(urgency, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(every, reduce_op="max"))

    def _save(self, trainer: Trainer) -> None:
        # Lightning's Trainer declares no `fast_dev_run`, so mypy knows of none: its setup sets it.
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        # What was logged up to here must not be lost: a resumed run will not log it again.
        for logger in trainer.loggers:
            logger.save()
        path = Path(self.format_checkpoint_name({}))
        if not _linked(trainer, path):
            trainer.save_checkpoint(path)
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step


def _ending(trainer: Trainer) -> bool:
    return trainer.should_stop or trainer.global_step == trainer.max_steps


def _linked(trainer: Trainer, path: Path) -> bool:
    """Give the best checkpoint this name too, if it was written this instant."""
    if not trainer.is_global_zero or trainer.world_size > 1:
        return False
    for best in trainer.checkpoint_callbacks:
        if isinstance(best, Best) and (written := best.written_at(trainer.global_step)):
            part = path.with_name(f".{path.name}.link")
            with suppress(OSError):  # not every file system knows links
                part.unlink(missing_ok=True)
                os.link(written, part)
                part.replace(path)
                return True
    return False
