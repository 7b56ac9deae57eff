"""Weights & Biases, which a training outlives."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning_utilities.core.rank_zero import rank_zero_only

__all__ = ["Wandb"]


class Wandb(WandbLogger):
    """Lightning's logger of W&B, except that training goes on where W&B's own process is gone.

    Without the network that process keeps what it is told, and sends it later; but it may be
    killed itself. What the run's own folder holds is whole then; W&B's copy ends.
    """

    _gone = False

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._tell(lambda: super(Wandb, self).log_metrics(metrics, step))

    def log_hyperparams(self, params: Any) -> None:
        self._tell(lambda: super(Wandb, self).log_hyperparams(params))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        super().finalize(status)
        if self._experiment is None or self._gone:
            return
        folder = Path(self._experiment.dir).parent
        try:
            self._experiment.finish(exit_code=int(status != "success"))
        except TimeoutError:
            print(
                "lab fit: W&B could not be reached at the end; "
                f"`wandb sync --no-skip-online {folder}` sends what it lacks.",
                file=sys.stderr,
            )

    def _tell(self, action: Callable[[], Any]) -> None:
        """Do what talks to W&B, unless it is gone; the first time that it is, say so."""
        from wandb.errors import Error

        try:
            if not self._gone:
                action()
        except (OSError, Error) as error:
            self._gone = True
            reason = f"{type(error).__name__}: {error}"
            print(f"lab fit: W&B is gone ({reason}); training goes on without.", file=sys.stderr)
