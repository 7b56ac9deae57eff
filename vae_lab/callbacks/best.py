"""The checkpoint of the best validation score."""

import os
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from vae_lab.callbacks.epochs import rightly_counted

__all__ = ["Best"]


class Best(ModelCheckpoint):
    """Lightning's checkpoint of the best score, which is kept when a run is resumed.

    Lightning forgets the score if the folder's path is written differently, and the next checkpoint
    may then replace a better one. When a model changes its objective, the best of the new one
    replaces that of the old. If no loss tells which weights are good, as in adversarial training,
    the latest weights are kept, unless another metric is monitored.
    """

    objective: int | None = None
    _early = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.monitor == "val/loss" and not getattr(pl_module, "chosen_by_loss", True):
            self.monitor = None
        self._validates = (self.monitor or "").startswith("val/")
        if not self._validates and self._save_on_train_epoch_end is None:
            # It is no metric of validation, at whose end Lightning would look for it.
            self._save_on_train_epoch_end = True
        super().setup(trainer, pl_module, stage)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._validates:
            self._judge_anew(pl_module)
        super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Until a validation, its score is still that of the previous objective.
        if not self._validates:
            self._judge_anew(pl_module)
        # A checkpoint written before the epoch's end lacks the state that this end changes.
        self._early = self._last_global_step_saved == trainer.global_step
        with rightly_counted(trainer):
            super().on_train_epoch_end(trainer, pl_module)

    def _judge_anew(self, pl_module: LightningModule) -> None:
        """Forget the best score if the objective has changed."""
        objective = getattr(pl_module, "objective", None)
        if objective != self.objective:
            self.objective = objective
            self.best_k_models, self.best_model_score = {}, None

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "objective": self.objective}

    def written_at(self, step: int) -> str | None:
        """Return the best checkpoint's path if it is complete and was written at this step."""
        whole = not (self.save_weights_only or self._early)
        return self.best_model_path if whole and self._last_global_step_saved == step else None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.objective = state_dict["objective"]
        path = self.format_checkpoint_name({})
        if os.path.exists(path):
            here = {"dirpath": self.dirpath, "best_k_models": {path: state_dict["kth_value"]}}
            named = dict.fromkeys(("best_model_path", "kth_best_model_path"), path)
            super().load_state_dict({**state_dict, **here, **named})
