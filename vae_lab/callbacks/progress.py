"""A progress bar with epoch, speed and score."""

import sys
import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from vae_lab.contracts import Batch

__all__ = ["Progress"]


class Progress(ProgressBar):
    """Shows one bar over all epochs, with images/s and time left; without a terminal, lines."""

    def __init__(self) -> None:
        super().__init__()

        self._enabled = True
        self._bar: tqdm[Any] | None = None
        self._refreshed = 0.0
        self._validated = -1

    def disable(self) -> None:
        """Print nothing; Lightning calls this on every rank but the first, and while tuning."""
        self._enabled = False

    def enable(self) -> None:
        """Print again after tuning; Lightning calls this on every rank."""
        self._enabled = self.trainer.is_global_zero

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begun, self._images = time.monotonic(), 0
        self._steps = trainer.estimated_stepping_batches * trainer.accumulate_grad_batches
        if self._enabled and sys.stderr.isatty():
            self._bar = tqdm(unit=" images", unit_scale=True, dynamic_ncols=True, leave=False)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        self._batch_size = len(batch.x) * trainer.world_size
        self._images += self._batch_size
        if self._bar is not None and time.monotonic() - self._refreshed > 0.2:
            self._refresh(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validated = trainer.current_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epochs = trainer.max_epochs or -1
        done = trainer.current_epoch + 1
        shown = epochs < 10 or done == 1 or done % (epochs // 10) == 0
        if self._enabled and self._bar is None and shown:
            speed = self._images / (time.monotonic() - self._begun)
            # An epoch may end without validation, and what is known then is another epoch's.
            score = self._score(trainer) if self._validated == trainer.current_epoch else ""
            print(f"{self._where(trainer)} {score} {speed:,.0f} images/s", flush=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._close()

    def _refresh(self, trainer: Trainer) -> None:
        assert self._bar is not None
        self._refreshed = time.monotonic()
        # After a resume, this process has trained on fewer images than the steps imply.
        left = self._steps - trainer.fit_loop.total_batch_idx - 1
        self._bar.total = self._images + left * self._batch_size
        self._bar.set_description(self._where(trainer), refresh=False)
        self._bar.set_postfix_str(self._score(trainer), refresh=False)
        self._bar.update(self._images - self._bar.n)

    def _where(self, trainer: Trainer) -> str:
        return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"

    def _score(self, trainer: Trainer) -> str:
        score = trainer.callback_metrics.get("val/loss")
        return "" if score is None else f"val/loss {score:.2f}"

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
