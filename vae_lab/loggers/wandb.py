"""Weights & Biases, which a training outlives."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from lightning.pytorch.loggers import WandbLogger

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

    def end(self) -> None:
        """Let W&B's process send the rest, and say what became of it; call it last."""
        if self._gone:
            return
        try:
            self.experiment.finish()
        except TimeoutError:
            folder = quote(str(Path(self.experiment.dir).parent))
            sync = f"`wandb sync --no-skip-online {folder}` sends the rest"
            print(f"lab fit: W&B had not taken everything in a minute; {sync}.", file=sys.stderr)
        except Exception as error:
            # Its package has several for a process that died, and the training is whole by now.
            print(f"lab fit: W&B was gone at the end: {error}", file=sys.stderr)

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
