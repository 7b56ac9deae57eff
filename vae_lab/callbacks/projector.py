"""Validation codes for TensorBoard's embedding projector."""

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.nn import functional as F

from vae_lab.callbacks.pictures import first_images
from vae_lab.contracts import Encodes
from vae_lab.nets import evaluating

__all__ = ["Projector"]


class Projector(Callback):
    """Logs validation codes with labels and thumbnails to TensorBoard when training ends."""

    # TensorBoard puts all thumbnails into one image, whose size browsers limit.
    images = 2000

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        boards = [b for b in trainer.loggers if isinstance(b, TensorBoardLogger)]
        if not boards or not isinstance(pl_module, Encodes) or not trainer.is_global_zero:
            return
        batch = first_images(trainer, pl_module, self.images)
        with evaluating(pl_module), torch.inference_mode():
            codes = pl_module.encode(batch.x, batch.y).float()
        step = trainer.fit_loop.total_batch_idx + 1
        labels = batch.y.tolist() if batch.has_classes else None
        for board in boards:
            board.experiment.add_embedding(codes, labels, _square(batch.x), step, tag="codes")


def _square(images: Tensor) -> Tensor:
    """Pad images to squares, the only thumbnails that TensorBoard supports."""
    height, width = images.shape[-2:]
    side = max(height, width)
    return F.pad(images, (0, side - width, 0, side - height))
