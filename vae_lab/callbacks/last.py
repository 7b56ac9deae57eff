"""The checkpoint from which a stopped run goes on."""

import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from vae_lab.contracts import Batch
from vae_lab.errors import LabError

__all__ = ["Last"]

PATIENCE = 50  # steps between two looks at the clock where processes have to agree on it


class Last(ModelCheckpoint):
    """Saves `last.ckpt` at every epoch's end, in the middle of a long epoch, and before a stop.

    SIGTERM, by which schedulers and shutdowns announce a kill, is answered with a checkpoint
    after the step it came in; SIGKILL costs at most the work since the latest one.

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
        self._saved = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        if self._due(trainer, batch_idx):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)

    def _due(self, trainer: Trainer, batch_idx: int) -> bool:
        late = trainer.received_sigterm or time.monotonic() - self._saved >= self.seconds
        if trainer.world_size > 1:
            if batch_idx % PATIENCE:
                return False
            late = trainer.strategy.broadcast(late)
        # Gradients that still accumulate are not saved; an epoch's last step is saved at its end.
        whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        return late and whole and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch

    def _save(self, trainer: Trainer) -> None:
        # Lightning gives its trainer this attribute from elsewhere.
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        # What was logged up to here must not be lost: a resumed run will not log it again.
        for logger in trainer.loggers:
            logger.save()
        trainer.save_checkpoint(self.format_checkpoint_name({}))
        self._saved = time.monotonic()
