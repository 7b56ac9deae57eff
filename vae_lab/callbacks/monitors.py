"""Checks of the metrics that callbacks and schedules monitor."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from vae_lab.callbacks.attached import attached
from vae_lab.errors import LabError

__all__ = ["Monitors"]


class Monitors(Callback):
    """Refuses, before training, to monitor a metric that validation does not measure.

    Lightning reports it after an epoch only. This callback also lets a resumed EarlyStopping use
    its new `patience`, which Lightning would replace by the saved one.

    Raises:
        LabError: If a monitored metric does not exist.
    """

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if any(map(_is_own, (pl_module, *attached(trainer)))):
            return  # it may log more metrics once training has begun
        known = trainer.callback_metrics
        schedules = [config for config in trainer.lr_scheduler_configs if config.strict]
        plateaus = [config for config in schedules if config.reduce_on_plateau]
        stops = [stop for stop in trainer.early_stopping_callbacks if stop.strict]
        for follower in (*stops, *plateaus, *trainer.checkpoint_callbacks):
            name = getattr(follower, "monitor", None) or ""
            # Training metrics are not known yet, and may have any other name. Without validation
            # images none is known, which is reported elsewhere.
            if known and name.startswith("val") and name not in known:
                raise LabError(f"There is no {name} to monitor; there is {', '.join(known)}.")

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        for stop in trainer.early_stopping_callbacks:
            if state := checkpoint["callbacks"].get(stop.state_key):
                state["patience"] = stop.patience


def _is_own(part: object) -> bool:
    """Return whether its class is a user's own."""
    return type(part).__module__.partition(".")[0] not in ("vae_lab", "lightning")
