"""How like the data a model's samples are, while it trains."""

import math
from typing import Any, cast

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from vae_lab.contracts import Batch, Classifies, Encodes, Samples, require
from vae_lab.errors import LabError
from vae_lab.metrics.distances import frechet_distance
from vae_lab.metrics.measures import encode
from vae_lab.metrics.samples import draw
from vae_lab.runs import load_model

__all__ = ["Likeness"]


class Likeness(Callback):
    """Follows the Fréchet distance of samples from the validation images, `val/frechet_distance`.

    The losses of two players say nothing of either, so this is what a sweep over GANs can go by, or
    `--checkpoint.monitor`. It is what `lab evaluate --split val --judge` finds for as many samples.

    Args:
        judge: A classifier's run folder or checkpoint, whose features are compared.
        every: Epochs between two looks.
        samples: How many images are drawn; distances compare at equal counts alone.
        seed: Fixes them.

    Raises:
        LabError: If a number is out of range, the model draws no samples, or the judge is none of
            such images.
    """

    def __init__(self, judge: str, every: int = 1, samples: int = 10_000, seed: int = 0) -> None:
        if min(every, samples) < 1:
            raise LabError("Likeness needs every >= 1 epoch and at least one sample.")
        self.path, self.every, self.samples, self.seed = judge, every, samples, seed
        self._found = math.inf

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        require(pl_module, Samples, "Likeness")
        judge: Any = load_model(self.path)
        for capability in (Classifies, Encodes):
            require(judge, capability, "Likeness")
        if judge.shape != pl_module.shape:
            raise LabError(f"The judge takes images of {judge.shape}; these are {pl_module.shape}.")
        self._judge = judge.to(pl_module.device)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]  # set by the data connector
        self._real = self._features(data.undrawn().images("val").x)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every == 0:
            images = draw(cast(Samples, pl_module), self.samples, self.seed).images
            self._found = frechet_distance(self._real, self._features(images))
            self._write(trainer)
        # What monitors it wants it after every epoch.
        pl_module.log("val/frechet_distance", self._found, logger=False, sync_dist=True)

    def _write(self, trainer: Trainer) -> None:
        seen = getattr(trainer.lightning_module, "images_seen", 0)
        metrics = {"val/frechet_distance": self._found, "images": seen}
        for logger in trainer.loggers:
            step = trainer.fit_loop.total_batch_idx + 1
            logger.log_metrics({**metrics, "epoch": trainer.current_epoch}, step)

    def _features(self, images: Tensor) -> Tensor:
        return encode(self._judge, Batch(images, torch.zeros(len(images))))
