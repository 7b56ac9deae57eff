"""The checkpoint from which a stopped run is resumed."""

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, Timer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from vae_lab.callbacks.attached import attached
from vae_lab.callbacks.best import Best
from vae_lab.callbacks.epochs import count_epoch, rightly_counted
from vae_lab.contracts import Batch
from vae_lab.errors import LabError

__all__ = ["Last", "ending", "out_of_time"]

# Reasons for a checkpoint within an epoch; the highest over all processes counts.
_NOTHING, _LATE, _TOLD = range(3)


class Last(ModelCheckpoint):
    """Saves `last.ckpt` at every epoch's end, every few minutes within an epoch, and on SIGTERM.

    After SIGTERM, which schedulers send before a kill, it is saved and training ends after the next
    optimiser step or at the epoch's end; if a validation within the epoch follows that step, one
    step later. All processes stop if one receives the signal. SIGKILL costs the work since the
    latest checkpoint; training that `max_time` ends loses the gradients accumulated so far.

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
        if trainer.fit_loop.restarted_on_epoch_end:
            # With `max_steps`, Lightning repeats the end of the saved epoch, without batches, and
            # counts it again.
            count_epoch(trainer, -1)
        # Lightning's handler ends training anywhere, with a collective call in the middle of
        # others. At the end Lightning restores the handler that was there before, not this one.
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
        # The epoch's last step is saved at its end; accumulated gradients are never saved.
        last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if last or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        urgency, ends = self._urgency(trainer), ending(trainer)
        if urgency and not ends and _validates(trainer):
            return
        if urgency or ends:
            self._save(trainer)
        if urgency == _TOLD:
            raise SIGTERMException

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # Lightning does not save that EarlyStopping, for example, has ended training. A time limit
        # is not saved, as a resumed run may have another one.
        checkpoint["should_stop"] = trainer.should_stop and not out_of_time(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step != self._saved_step:
            with rightly_counted(trainer):
                self._save(trainer)
        # At the end of training, go on, as no resumed run would draw the last pictures.
        if self._urgency(trainer) == _TOLD and not _at_end(trainer):
            raise SIGTERMException

    def _urgency(self, trainer: Trainer) -> int:
        """Return the most urgent reason for a checkpoint over all processes."""
        late = time.monotonic() - self._saved_at >= self.seconds
        urgency = _TOLD if self._told else _LATE if late else _NOTHING
        if trainer.world_size == 1:
            return urgency
        every = torch.tensor(urgency, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(every, reduce_op="max"))

    def _save(self, trainer: Trainer) -> None:
        if getattr(trainer, "fast_dev_run", False):
            return
        # Logs up to here must be on disk: a resumed run does not write them again.
        for logger in trainer.loggers:
            logger.save()
        path = Path(self.format_checkpoint_name({}))
        if not _linked(trainer, path):
            trainer.save_checkpoint(path)
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step


def _at_end(trainer: Trainer) -> bool:
    """Return whether the current epoch is the last one."""
    return trainer.current_epoch + 1 == trainer.max_epochs or ending(trainer)


def ending(trainer: Trainer) -> bool:
    """Return whether training ends here, before `max_epochs`."""
    # Lightning trains on until `min_epochs` and `min_steps` are reached.
    stops = trainer.should_stop and trainer.fit_loop._can_stop_early
    return stops or trainer.global_step == trainer.max_steps


def out_of_time(trainer: Trainer) -> bool:
    """Return whether a time limit is used up; before training, whether it is zero."""
    left = [timer.time_remaining() for timer in attached(trainer) if isinstance(timer, Timer)]
    return any(seconds is not None and seconds <= 0 for seconds in left)


def _validates(trainer: Trainer) -> bool:
    """Return whether a validation follows this step; a run resumed here would skip it."""
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None  # as this is a step
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)


def _linked(trainer: Trainer, path: Path) -> bool:
    """Link `path` to the best checkpoint if that was written at this step."""
    if not trainer.is_global_zero or trainer.world_size > 1:
        return False
    for best in trainer.checkpoint_callbacks:
        if isinstance(best, Best) and (written := best.written_at(trainer.global_step)):
            part = path.with_name(f".{path.name}.link.part")
            with suppress(OSError):  # not every file system knows links
                part.unlink(missing_ok=True)
                os.link(written, part)
                part.replace(path)
                return True
    return False
