"""The checkpoint of the best validation score."""

import os
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from vae_lab.callbacks.epochs import rightly_counted

__all__ = ["Best"]


class Best(ModelCheckpoint):
    """Lightning's checkpoint of the best score, which a run that goes on does not forget.

    Lightning drops the score where the folder is spelled otherwise than at first, and the next
    checkpoint then replaces a better one. Where a model goes on to another objective, the best of
    the earlier one gives way to the first of the next. Where no loss says which weights are good,
    as in adversarial training, the latest are kept, unless another metric is monitored.
    """

    objective: int | None = None
    _early = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.monitor == "val/loss" and not getattr(pl_module, "chosen_by_loss", True):
            self.monitor = None
        self._validates = (self.monitor or "").startswith("val/")
        if not self._validates and self._save_on_train_epoch_end is None:
            # Validation knows nothing of it, and Lightning takes every monitor for one of its own.
            self._save_on_train_epoch_end = True
        super().setup(trainer, pl_module, stage)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._validates:
            self._judge_anew(pl_module)
        super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Until it is validated, the score is still that of the objective before.
        if not self._validates:
            self._judge_anew(pl_module)
        # What a step or a validation has written knows nothing of the epoch's end.
        self._early = self._last_global_step_saved == trainer.global_step
        with rightly_counted(trainer):
            super().on_train_epoch_end(trainer, pl_module)

    def _judge_anew(self, pl_module: LightningModule) -> None:
        """Forget the best score of another objective."""
        objective = getattr(pl_module, "objective", None)
        if objective != self.objective:
            self.objective = objective
            self.best_k_models, self.best_model_score = {}, None

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "objective": self.objective}

    def written_at(self, step: int) -> str | None:
        """Return the path of the best checkpoint if all of it was written after that many steps."""
        whole = not (self.save_weights_only or self._early)
        return self.best_model_path if whole and self._last_global_step_saved == step else None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.objective = state_dict["objective"]
        path = self.format_checkpoint_name({})
        if os.path.exists(path):
            here = {"dirpath": self.dirpath, "best_k_models": {path: state_dict["kth_value"]}}
            named = dict.fromkeys(("best_model_path", "kth_best_model_path"), path)
            super().load_state_dict({**state_dict, **here, **named})
