"""Lightning without the calls that do nothing.

Lightning calls six hooks a batch on every callback and on the model, each under a profiler's
context, whether or not they have anything to do: a tenth of a small model's step.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from lightning import LightningModule
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.profilers import PassThroughProfiler

__all__ = ["NoProfiler", "drop_idle_hooks"]

BATCH_HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)


def drop_idle_hooks(parts: Iterable[Callback | LightningModule]) -> None:
    """Hide the per-batch hooks that do nothing; Lightning passes over what is not callable."""
    for part in parts:
        base = Callback if isinstance(part, Callback) else LightningModule
        # A LambdaCallback's hooks, for one, are its own, and not its class's.
        for hook in (name for name in BATCH_HOOKS if name not in vars(part)):
            if getattr(type(part), hook) is getattr(base, hook) or _waits(part, hook):
                setattr(part, hook, None)


def _waits(part: Callback | LightningModule, hook: str) -> bool:
    """Tell whether this is a checkpoint that finds out after every batch to save at epochs' ends.

    Lightning lets a checkpoint count epochs, or steps, or minutes, but never two of them.
    """
    return (
        isinstance(part, ModelCheckpoint)
        and getattr(type(part), hook) is getattr(ModelCheckpoint, hook)
        and hook == "on_train_batch_end"
        and bool(part.every_n_epochs)
    )


class NoProfiler(PassThroughProfiler):
    """Profiles nothing, without making a new context for each of fifty calls a step."""

    _nothing: AbstractContextManager[Any] = nullcontext()

    # Lightning's method is a @contextmanager, which mypy gives a type private to contextlib.
    # Callers do no more than `with`, for which any context manager is enough.
    def profile(self, action_name: str) -> AbstractContextManager[Any]:  # type: ignore[override]
        return self._nothing
