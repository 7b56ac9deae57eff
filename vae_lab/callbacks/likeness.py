"""The Fréchet distance of samples during training."""

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
    """Logs the Fréchet distance of samples to validation images as `val/frechet_distance`.

    Adversarial losses do not measure quality, so GAN sweeps and `--checkpoint.monitor` can use
    this instead. `lab evaluate --split val --judge` gives the same number for the same weights and
    number of samples. The best epoch's weights are kept only if the checkpoint monitors it.

    Args:
        judge: A classifier's run folder or checkpoint, or `inception`, whose features are compared.
        every: Epochs between two measurements; the last epoch is always measured.
        samples: Number of samples. At most as many as there are training images are compared,
            because distances depend on the counts.
        seed: Seed of the samples.

    Raises:
        LabError: If a number is out of range, the model cannot sample, the judge does not fit the
            images or was trained on other data, or it has more features than there are images.
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
        # Lightning moves the model itself later.
        self._judge = judge.to(trainer.strategy.root_device)
        self._real = self._features(real)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._due(trainer) and not trainer.sanity_checking:
            images = draw(cast(Samples, pl_module), self.samples, self.seed).images
            self._found = frechet_distance(self._real, self._features(images[: self._compared]))
            self._write(trainer)
        # Callbacks that monitor it look for it after every epoch.
        pl_module.log("val/frechet_distance", self._found, logger=False, sync_dist=True)

    def state_dict(self) -> dict[str, Any]:
        return {"found": self._found, "measured_by": self._measured_by()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # A number measured by another judge must not be mixed with this one's.
        if state_dict["measured_by"] == self._measured_by():
            self._found = state_dict["found"]

    def _measured_by(self) -> list[Any]:
        return [self._name, self._compared, self.seed]

    def _check_epochs(self, trainer: Trainer) -> None:
        """Refuse an `every` that is never reached; `fast_dev_run` always has a single epoch."""
        trial, epochs = getattr(trainer, "fast_dev_run", False), trainer.max_epochs or 0
        if 0 < epochs < self.every and not trial:
            raise LabError(
                f"Likeness looks every {self.every} epochs, and training ends after {epochs}; "
                "give it a smaller `every`."
            )

    def _due(self, trainer: Trainer) -> bool:
        done, last = trainer.current_epoch + 1, trainer.max_epochs or -1
        # Whether this is the last validation.
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
