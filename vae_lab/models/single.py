"""Base of models with a single objective: their training step."""

from inspect import signature
from typing import Any

from lightning.pytorch.utilities.types import LRSchedulerTypeUnion, OptimizerLRScheduler
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from vae_lab.arguments import above_zero
from vae_lab.contracts import Batch, Shape
from vae_lab.errors import LabError
from vae_lab.models.base import Model, Schedule
from vae_lab.randomness import reseed
from vae_lab.words import article

__all__ = ["SingleObjective"]


class SingleObjective(Model):
    """Minimises one objective with Adam; a subclass returns the objective's terms.

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        lr: Learning rate of Adam.
        schedule: Learning-rate schedule of torch.optim.lr_scheduler, stepped once an epoch.

    Raises:
        LabError: If a size or the learning rate is not positive, see also `Model`.
    """

    optimiser_settings = ("lr", "schedule")

    def __init__(self, shape: Shape, lr: float = 1e-3, schedule: Schedule | None = None) -> None:
        super().__init__(shape)

        above_zero(lr=lr)
        self.lr = lr
        self.schedule = schedule

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = Adam(self.parameters(), self.lr, fused=True)
        if self.schedule is None:
            return optimizer
        scheduler = self.schedule(optimizer)
        # ReduceLROnPlateau follows the validation loss; Lightning's subclass can follow another
        # metric.
        monitor = getattr(scheduler, "monitor", "val/loss")
        # Between two validations the metric does not change.
        looks = isinstance(scheduler, ReduceLROnPlateau) and monitor.startswith("val/")
        every = (looks and self.trainer.check_val_every_n_epoch) or 1
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "monitor": monitor, "frequency": every},
        }

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        loop = self.trainer.fit_loop
        if not loop.restarted_on_epoch_end and loop.epoch_loop._num_ready_batches_reached():
            self._tell_schedules()

    def _tell_schedules(self) -> None:
        """Step ReduceLROnPlateau schedules before the checkpoints are written.

        Lightning steps them afterwards, so that a resumed run would miss a step.
        """
        for config in self.trainer.lr_scheduler_configs:
            value = self.trainer.callback_metrics.get(config.monitor or "")
            due = (self.current_epoch + 1) % config.frequency == 0
            if due and isinstance(config.scheduler, ReduceLROnPlateau) and value is not None:
                config.scheduler.step(float(value))

    def lr_scheduler_step(self, scheduler: LRSchedulerTypeUnion, metric: Any | None) -> None:
        if metric is None:  # ReduceLROnPlateau has been stepped
            super().lr_scheduler_step(scheduler, metric)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        # Lightning would go through its plugins at every step to find that there is nothing to do.
        if not gradient_clip_val:
            return
        plugin = self.trainer.precision_plugin
        # Lightning also refuses fused Adam in bfloat16, though only a gradient scaler needs that.
        if getattr(plugin, "scaler", None) is not None:
            raise LabError(
                "--trainer.gradient_clip_val needs gradients that are not scaled: "
                "--trainer.precision is 32-true or bf16-mixed."
            )
        by_value = gradient_clip_algorithm == "value"
        clip = plugin.clip_grad_by_value if by_value else plugin.clip_grad_by_norm
        clip(optimizer, gradient_clip_val)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        reseed(self.seed, self.global_rank, self.current_epoch, batch_idx)
        with self._lone_image_refused():
            terms = self.terms(batch)
        if "loss" not in terms:
            raise LabError(f"The terms of {article(self)} hold no `loss` to minimise.")
        self._record(batch, batch_idx, terms)
        return terms["loss"].mean()


# Lightning inspects the signature at every step, which takes 20 us unless it is stored here;
# mypy knows of no such attribute of a function.
SingleObjective.training_step.__signature__ = signature(SingleObjective.training_step)  # type: ignore[attr-defined]
