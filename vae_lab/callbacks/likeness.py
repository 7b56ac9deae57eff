"""How like the data a model's samples are, while it trains."""

import math
from typing import Any, cast

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from vae_lab.arguments import at_least
from vae_lab.callbacks.last import ending
from vae_lab.contracts import Batch, Images, Samples, require
from vae_lab.errors import LabError
from vae_lab.judges import load_judge
from vae_lab.metrics.distances import frechet_distance
from vae_lab.metrics.measures import encode
from vae_lab.metrics.samples import draw

__all__ = ["Likeness"]


class Likeness(Callback):
    """Follows the Fréchet distance of samples from the validation images, `val/frechet_distance`.

    The losses of two players say nothing of either, so this is what a sweep over GANs can go by, or
    `--checkpoint.monitor`. Of the same weights, `lab evaluate --split val --judge` with as many
    samples finds the same; the best epoch's are kept only if the checkpoint monitors it.

    Args:
        judge: A classifier's run folder or checkpoint, or `inception`, whose features are compared.
        every: Epochs between two looks; the last epoch is always looked at.
        samples: How many images are drawn; no more than there are training images are compared,
            as distances compare at equal counts alone.
        seed: The same seed draws the same images.

    Raises:
        LabError: If a number is out of range, the model draws no samples, the judge is none of
            such images or learned from other data, or its features outnumber the images.
    """

    def __init__(self, judge: str, every: int = 1, samples: int = 10_000, seed: int = 0) -> None:
        at_least(1, every=every, samples=samples)
        self.path, self.every, self.samples, self.seed = judge, every, samples, seed
        self._found = math.inf

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage not in ("fit", "validate"):
            return
        if stage == "fit":
            self._check_epochs(trainer)
        require(pl_module, Samples, "Likeness")
        data: Any = getattr(trainer, "datamodule", None)
        judge, self._name, _ = load_judge(self.path, pl_module, data)
        grey = cast(Images, data.undrawn())
        real = grey.images("val").x
        self._compared = len(grey.images("train", self.samples).x)
        if min(self._compared, len(real)) <= judge.latent_dim:
            raise LabError(
                f"The judge has {judge.latent_dim} features, and Likeness needs more samples and "
                f"validation images than that; there are {self._compared} and {len(real)}."
            )
        # The model follows only later.
        self._judge = judge.to(trainer.strategy.root_device)
        self._real = self._features(real)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._due(trainer) and not trainer.sanity_checking:
            images = draw(cast(Samples, pl_module), self.samples, self.seed).images
            self._found = frechet_distance(self._real, self._features(images[: self._compared]))
            self._write(trainer)
        # What monitors it wants it after every epoch.
        pl_module.log("val/frechet_distance", self._found, logger=False, sync_dist=True)

    def state_dict(self) -> dict[str, Any]:
        return {"found": self._found, "measured_by": self._measured_by()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # A number of another judge must not stand among this one's.
        if state_dict["measured_by"] == self._measured_by():
            self._found = state_dict["found"]

    def _measured_by(self) -> list[Any]:
        return [self._name, self._compared, self.seed]

    def _check_epochs(self, trainer: Trainer) -> None:
        """Refuse what is never due; a trial of one batch has a single epoch whatever is asked."""
        trial, epochs = getattr(trainer, "fast_dev_run", False), trainer.max_epochs or 0
        if 0 < epochs < self.every and not trial:
            raise LabError(
                f"Likeness looks every {self.every} epochs, and training ends after {epochs}; "
                "give it a smaller `every`."
            )

    def _due(self, trainer: Trainer) -> bool:
        done, last = trainer.current_epoch + 1, trainer.max_epochs or -1
        # No validation follows this one.
        ends = 0 <= last - done < (trainer.check_val_every_n_epoch or 1)
        ends = ends or ending(trainer)
        return trainer.state.fn == TrainerFn.VALIDATING or ends or done % self.every == 0

    def _write(self, trainer: Trainer) -> None:
        seen = getattr(trainer.lightning_module, "images_seen", 0)
        metrics = {"val/frechet_distance": self._found, "images": seen}
        for logger in trainer.loggers:
            step = trainer.fit_loop.total_batch_idx + 1
            logger.log_metrics({**metrics, "epoch": trainer.current_epoch}, step)

    def _features(self, images: Tensor) -> Tensor:
        return encode(self._judge, Batch.unlabelled(images))
