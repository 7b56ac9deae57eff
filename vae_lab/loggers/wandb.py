"""Logger of Weights & Biases that does not end training if W&B fails."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from lightning.pytorch.loggers import WandbLogger

__all__ = ["Wandb"]


class Wandb(WandbLogger):
    """Lightning's W&B logger, except that training goes on if W&B's process has died.

    Without a network that process stores its data and sends them later, but it may be killed. The
    run folder is complete then; W&B's copy is not.
    """

    _gone = False

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._tell(lambda: super(Wandb, self).log_metrics(metrics, step))

    def log_hyperparams(self, params: Any) -> None:
        self._tell(lambda: super(Wandb, self).log_hyperparams(params))

    def end(self) -> None:
        """Let W&B's process send the rest, and print if it could not; call it last."""
        if self._gone:
            return
        try:
            self.experiment.finish()
        except TimeoutError:
            folder = quote(str(Path(self.experiment.dir).parent))
            sync = f"`wandb sync --no-skip-online {folder}` sends the rest"
            print(f"lab fit: W&B had not taken everything in a minute; {sync}.", file=sys.stderr)
        except Exception as error:
            # W&B has several exceptions for a dead process, and training is complete by now.
            print(f"lab fit: W&B was gone at the end: {error}", file=sys.stderr)

    def _tell(self, action: Callable[[], Any]) -> None:
        """Call W&B, unless its process has died; print a message the first time."""
        from wandb.errors import Error

        try:
            if not self._gone:
                action()
        except (OSError, Error) as error:
            self._gone = True
            reason = f"{type(error).__name__}: {error}"
            print(f"lab fit: W&B is gone ({reason}); training goes on without.", file=sys.stderr)
