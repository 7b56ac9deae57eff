"""Pictures during training, written to the run folder and to the loggers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from torch import Tensor

from vae_lab.arguments import at_least
from vae_lab.contracts import Batch
from vae_lab.drawings import DRAWINGS
from vae_lab.errors import LabError
from vae_lab.files import atomic
from vae_lab.nets import evaluating
from vae_lab.pictures import signed, to_png
from vae_lab.runs import Run
from vae_lab.words import counted

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

__all__ = ["Pictures", "first_images"]


class Pictures(Callback):
    """Draws pictures of the model from fixed validation images and fixed noise.

    Args:
        kinds: Which pictures: reconstructions, restorations, filters, samples, class_rows,
            transfer, attribute_rows, attribute_walks, completions, manifold, traversals, sweeps,
            walks, interpolation, inverted_walks, scatter, clusters, likelihood_curve, beside_pca,
            beside_prior. By default all that the model supports, except inverted_walks, which
            are slow.
        every: Epochs between two drawings; pictures are always drawn at the end of training.
        images: Number of validation images to encode.
        projection: Projection of codes of more than two dimensions in the scatter plot; t-SNE
            takes up to 5,000 codes, and some ten seconds for 2,000.

    Raises:
        LabError: If a kind does not exist, or the model does not support it.
    """

    def __init__(
        self,
        kinds: Sequence[str] | None = None,
        every: int = 10,
        images: int = 2000,
        projection: Literal["pca", "tsne"] = "pca",
    ) -> None:
        if unknown := set(kinds or ()) - set(DRAWINGS):
            raise LabError(
                f"No picture is called {unknown.pop()!r}; there are {', '.join(DRAWINGS)}."
            )
        at_least(1, every=every)
        at_least(2, images=images)
        self.kinds = kinds
        self._asked = (
            [kind for kind in DRAWINGS if not DRAWINGS[kind].costly] if kinds is None else kinds
        )
        self.every = every
        self.images = images
        self.options = {"scatter": {"projection": projection}}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # `log_dir` is a collective call, so every rank makes it.
        folder = trainer.log_dir if trainer.loggers else None
        self._folder = None if folder is None else Path(folder) / "pictures"
        self._drawn = -1
        self._chosen = [kind for kind in self._asked if self._wanted(kind, pl_module)]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Checked here rather than after hours of training.
        found = len(first_images(trainer, pl_module, 3).x)
        few = [kind for kind in self._chosen if DRAWINGS[kind].images > found]
        if few and self.kinds is not None:
            raise LabError(
                f"{counted(found, 'validation image')} will not do for the picture {few[0]!r}."
            )
        self._chosen = [kind for kind in self._chosen if kind not in few]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every == 0:
            self._draw(trainer, pl_module, trainer.current_epoch + 1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._drawn != trainer.current_epoch:
            self._draw(trainer, pl_module, trainer.current_epoch)

    def _wanted(self, kind: str, model: LightningModule) -> bool:
        try:
            DRAWINGS[kind].check(model, f"The picture {kind!r}")
        except LabError:
            if self.kinds is not None:
                raise
            return False
        return True

    def _draw(self, trainer: Trainer, model: LightningModule, epoch: int) -> None:
        self._drawn = epoch
        if self._folder is None or not self._chosen or not trainer.is_global_zero:
            return
        batch = first_images(trainer, model, self.images)
        names = getattr(getattr(trainer, "datamodule", None), "label_names", ())
        # In single precision, like the verbs.
        with evaluating(model), torch.inference_mode():
            plain = {
                kind: DRAWINGS[kind](model, batch, names, **self.options.get(kind, {}))
                for kind in self._chosen
            }
        # Like the verbs, so that a picture can be identified without its folder.
        run = f"{Run(self._folder.parent).name}, epoch {epoch}"
        drawn = {
            kind: signed(picture, run, *DRAWINGS[kind].about(model, "val"))
            for kind, picture in plain.items()
        }
        encoded = {kind: to_png(picture) for kind, picture in drawn.items()}
        for kind, png in encoded.items():
            with atomic(self._folder / f"{kind}_{epoch:04d}.png") as file:
                file.write(png)
        for logger in trainer.loggers:
            _log(logger, drawn, encoded, trainer.fit_loop.total_batch_idx + 1)


def first_images(trainer: Trainer, model: LightningModule, n: int) -> Batch:
    """Return the first `n` validation images, or all if there are fewer, on the model's device."""
    batches: list[Batch] = []
    loader, data = trainer.val_dataloaders, getattr(trainer, "datamodule", None)
    if loader is None and data is not None:  # in an epoch without validation
        loader = data.val_dataloader()
    for batch in loader or ():
        batches.append(Batch(*batch))
        if sum(len(b.x) for b in batches) >= n:
            break
    if not batches:
        raise LabError(
            "There are no validation images to draw, nor to choose the best weights by; "
            "give the data a val_size above 0."
        )
    return Batch(*(torch.cat(parts)[:n].to(model.device) for parts in zip(*batches, strict=True)))


def _log(logger: Logger, drawn: dict[str, Tensor], encoded: dict[str, bytes], step: int) -> None:
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.file_writer.add_summary(_summary(drawn, encoded), step)
    elif isinstance(logger, WandbLogger):
        import wandb

        images: dict[str, Any] = {f"pictures/{k}": wandb.Image(p) for k, p in drawn.items()}
        logger.log_metrics(images, step)


def _summary(drawn: dict[str, Tensor], encoded: dict[str, bytes]) -> "Summary":
    """Build TensorBoard's summary of the pictures, without encoding them a second time."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = []
    for kind, picture in drawn.items():
        channels, height, width = picture.shape
        image = Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=encoded[kind]
        )
        values.append(Summary.Value(tag=f"pictures/{kind}", image=image))
    return Summary(value=values)
