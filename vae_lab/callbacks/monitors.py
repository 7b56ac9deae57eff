"""What callbacks and schedules go by."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from vae_lab.callbacks.attached import attached
from vae_lab.errors import LabError

__all__ = ["Monitors"]


class Monitors(Callback):
    """Refuses to go by a number that validation does not measure, before anything is trained.

    Lightning finds out after an epoch. It also lets an EarlyStopping be as patient as it was when
    a run that goes on was left, whatever it is told now.

    Raises:
        LabError: If something monitors what is not there.
    """

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if any(map(_is_own, (pl_module, *attached(trainer)))):
            return  # it may measure more once training has begun
        known = trainer.callback_metrics
        schedules = [config for config in trainer.lr_scheduler_configs if config.strict]
        plateaus = [config for config in schedules if config.reduce_on_plateau]
        stops = [stop for stop in trainer.early_stopping_callbacks if stop.strict]
        for follower in (*stops, *plateaus, *trainer.checkpoint_callbacks):
            name = getattr(follower, "monitor", None) or ""
            # What is of training is not measured yet, and may have any other name; that there are
            # no validation images is for others to say.
            if known and name.startswith("val") and name not in known:
                raise LabError(f"There is no {name} to monitor; there is {', '.join(known)}.")

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        for stop in trainer.early_stopping_callbacks:
            if state := checkpoint["callbacks"].get(stop.state_key):
                state["patience"] = stop.patience


def _is_own(part: object) -> bool:
    """Return whether a user wrote it."""
    return type(part).__module__.partition(".")[0] not in ("vae_lab", "lightning")
