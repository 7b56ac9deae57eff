"""Base of all models: settings, checkpoints, logging and checks."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.model_helpers import _restricted_classmethod
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from vae_lab.checkpoints import as_noted, settings_of
from vae_lab.contracts import Batch, Shape
from vae_lab.described import Described, said
from vae_lab.errors import Diverged, LabError
from vae_lab.models.meter import Meter, gathered
from vae_lab.nets import Decoder, Encoder
from vae_lab.randomness import reseed
from vae_lab.words import article

__all__ = ["MakeDecoder", "MakeEncoder", "Model", "Schedule"]

# Half-precision weights would lose Adam's small steps; metrics and pictures use single precision.
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")

MakeEncoder = Callable[[Shape, int], Encoder]
MakeDecoder = Callable[[int, Shape], Decoder]
Schedule = Callable[[Optimizer], LRScheduler]


class Model(Described, L.LightningModule, ABC):
    """Base of all models; a subclass defines the training step.

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.

    Raises:
        LabError: If a side is not positive or an argument cannot be stored in a checkpoint; in
            training, if the loss stops being finite or weights are not in single precision.
    """

    optimiser_settings: tuple[str, ...] = ()
    """Names of the settings that are part of the optimisers' state in a checkpoint."""

    bounded = True
    """Whether decoded images lie in [0, 1]."""

    chosen_by_loss = True
    """Whether the checkpoint with the lowest validation loss is the best one."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()

        self.note_settings()

        if min(shape) < 1:
            raise LabError(f"Image sides are positive; got {shape}.")
        self.shape = tuple(shape)

        self.images_seen = 0
        self._meters = {stage: Meter() for stage in ("train", "val", "test")}

    @_restricted_classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = True,
        **kwargs: Any,
    ) -> Self:
        """Load a checkpoint as Lightning does, and keep its settings in the model.

        Args:
            checkpoint_path: The file; no code in it is run.
            map_location: Device of the weights.
            hparams_file: See Lightning.
            strict: Whether the file must hold all weights.
            weights_only: Leave this as it is.
            **kwargs: Arguments of the model that replace those in the checkpoint.

        Raises:
            LabError: If the file is unreadable, damaged, foreign or unsafe, or an argument cannot
                be stored in a checkpoint.
        """
        told = {name: said(value) for name, value in kwargs.items()}
        # A copy, since building a model changes its settings in place.
        with as_noted(settings_of(cls, Path(checkpoint_path)) | deepcopy(told)):
            return super().load_from_checkpoint(
                checkpoint_path, map_location, hparams_file, strict, weights_only, **told
            )

    @abstractmethod
    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """Return the objective's named terms per image, shape (B,).

        The term `loss`, if there is one, is minimised; the others are logged.
        """

    @property
    def objective(self) -> int | None:
        """The number of this epoch's objective, for a model whose objective changes.

        Losses of different objectives are not compared when the best checkpoint is chosen.
        """
        return None

    def _apply_batch_transfer_handler(
        self, batch: Any, device: torch.device | None = None, dataloader_idx: int = 0
    ) -> Any:
        # Saves Lightning's three hook calls per step if the batch is on the device already.
        if isinstance(batch, Batch) and batch.x.device == device:
            return batch
        return super()._apply_batch_transfer_handler(_as_batch(batch), device, dataloader_idx)

    def setup(self, stage: str) -> None:
        self.check_precision(self.trainer.precision)
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        # Lightning's Trainer declares no `log_every_n_steps`, so mypy knows of none: its logger
        # connector sets it.
        self._log_every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]

    def check_precision(self, precision: str) -> None:
        """Refuse a Trainer precision that this model cannot be trained in.

        Raises:
            LabError: If it is none of `32-true`, `bf16-mixed` and `16-mixed`.
        """
        if precision not in PRECISIONS:
            wanted = f"one of {', '.join(PRECISIONS)}, not {precision}"
            raise LabError(
                f"Weights are kept in single precision: --trainer.precision is {wanted}."
            )

    def on_train_epoch_end(self) -> None:
        if rest := self._read_window():
            self._write("train", rest)
        self._log_means("train")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate("val", batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        means = self._log_means("val")
        if self._fitting and not self.trainer.sanity_checking:
            self._write("val", means)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate("test", batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        self._log_means("test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        restored: Tensor = self(batch.x)
        return restored

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        meter, *others = gathered(self._meters["train"].state_dict())
        checkpoint["progress"] = {"images_seen": self.images_seen, "meter": meter, "others": others}
        if not all(torch.isfinite(p).all() for p in self.parameters()):
            raise Diverged(self._diverged("parameters"))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._check_fit(checkpoint["state_dict"])
        for name in self.optimiser_settings:
            own = said(self.hparams.get(name))
            if (theirs := said(checkpoint["hyper_parameters"].get(name, own))) != own:
                raise LabError(
                    f"The checkpoint's optimiser goes on with its own {name}, {theirs}; "
                    f"--model.{name} {own} would be ignored."
                )
        progress = checkpoint["progress"]
        self.images_seen = progress["images_seen"]
        meters = [progress["meter"], *progress.get("others", ())]
        self._meters["train"].load_state_dict(meters[self.global_rank % len(meters)])

    def begin_with(self, checkpoint: dict[str, Any]) -> None:
        """Load the weights of a checkpoint, whatever objective they were trained by.

        Raises:
            LabError: If its networks differ from this model's.
        """
        self._check_fit(checkpoint["state_dict"])
        self.load_state_dict(checkpoint["state_dict"])

    def end_averaging(self) -> None:
        """Replace the weights by their moving average, if the model keeps one."""

    def _check_fit(self, found: dict[str, Tensor]) -> None:
        """Refuse the weights of another model, with one sentence instead of one per tensor."""
        own = {name: weight.shape for name, weight in self.state_dict().items()}
        theirs = {name: weight.shape for name, weight in found.items()}
        if different := sorted(name for name, _ in own.items() ^ theirs.items()):
            raise LabError(
                f"The checkpoint is of a model with other settings: {different[0]} differs. "
                "Use those of its run's config.yaml."
            )

    @contextmanager
    def _lone_image_refused(self) -> Iterator[None]:
        """Turn torch's error for batch norm on a single value per channel into a sentence."""
        try:
            yield
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise LabError(
                "A batch of one image is nothing that batch norm can normalise: choose another "
                "--data.batch_size or --data.limit."
            ) from error

    def _record(self, batch: Batch, batch_idx: int, terms: dict[str, Tensor]) -> None:
        """Add up a training step's terms, and log their means every `log_every_n_steps`.

        Assumes that every process has as many images as this one: if the last batch cannot be
        shared evenly, an epoch counts up to one image per process too many.
        """
        self._meters["train"].add(terms)
        self.images_seen += len(batch.x) * self.trainer.world_size
        if self._log_every and (batch_idx + 1) % self._log_every == 0:
            self._write("train", self._read_window())

    def _evaluate(self, stage: str, batch: Batch, batch_idx: int) -> None:
        # The same noise in every epoch, so that results differ by the weights alone.
        reseed(self.seed, self.global_rank, batch_idx)
        self._meters[stage].add(self.terms(batch))

    def _read_window(self) -> dict[str, float]:
        means = self._means(*self._meters["train"].window())
        if not all(map(math.isfinite, means.values())):
            raise Diverged(self._diverged("loss"))
        return means

    def _log_means(self, stage: str) -> dict[str, float]:
        """Pass the epoch's means over all ranks to callbacks, and return them."""
        meter = self._meters[stage]
        means = self._means(meter.sums(), meter.count)
        meter.reset()
        named = {f"{stage}/{name}": mean for name, mean in means.items()}
        # In training `_write` logs them together with the number of images seen.
        self.log_dict(named, logger=False if self._fitting else None, sync_dist=True)
        return means

    def _means(self, sums: dict[str, float], count: int) -> dict[str, float]:
        """Return the means over the images of all ranks; each rank has the same terms."""
        totals = torch.tensor([*sums.values(), count], dtype=torch.float64)
        if sums and self.trainer.world_size > 1:
            totals = self.trainer.strategy.reduce(totals.to(self.device), reduce_op="sum")
        *values, images = totals.tolist()
        return {name: value / images for name, value in zip(sums, values, strict=True)}

    @property
    def _fitting(self) -> bool:
        return self.trainer.state.fn == TrainerFn.FITTING

    def _write(self, stage: str, means: dict[str, float]) -> None:
        """Log means, with one call per logger."""
        metrics = {f"{stage}/{name}": mean for name, mean in means.items()}
        metrics |= {"epoch": self.current_epoch, "images": self.images_seen}
        for logger in self.loggers:
            logger.log_metrics(metrics, self.trainer.fit_loop.total_batch_idx + 1)
            if stage == "val":
                logger.save()

    def _diverged(self, what: str) -> str:
        return (
            f"The {what} stopped being finite in epoch {self.current_epoch + 1}. What was "
            "saved before is kept; a smaller --model.lr is the usual cure."
        )

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning sets this attribute forty times per step, each taking nn.Module 3 us.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)


def _as_batch(batch: Any) -> Batch:
    """Make a Batch of the images and labels of any loader."""
    if isinstance(batch, list | tuple) and len(batch) == 2:
        return Batch(*batch)
    raise LabError(f"A batch is images and labels, not {article(type(batch).__name__)}.")
