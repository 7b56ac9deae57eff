"""Skips Lightning's calls of hooks that do nothing.

Lightning calls six hooks per batch on every callback and on the model, each in a profiler's
context, even if they are empty: a tenth of a small model's step.
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
    """Set per-batch hooks that do nothing to None; Lightning skips what is not callable."""
    for part in parts:
        base = Callback if isinstance(part, Callback) else LightningModule
        # Hooks in `vars` belong to the instance, such as those of a LambdaCallback.
        for hook in (name for name in BATCH_HOOKS if name not in vars(part)):
            if getattr(type(part), hook) is getattr(base, hook) or _waits(part, hook):
                setattr(part, hook, None)


def _waits(part: Callback | LightningModule, hook: str) -> bool:
    """Return whether this is a checkpoint that saves at epoch ends only.

    Lightning lets a checkpoint count epochs, steps or minutes, but only one of them.
    """
    return (
        isinstance(part, ModelCheckpoint)
        and getattr(type(part), hook) is getattr(ModelCheckpoint, hook)
        and hook == "on_train_batch_end"
        and bool(part.every_n_epochs)
    )


class NoProfiler(PassThroughProfiler):
    """Profiles nothing, with one shared context for all of the fifty calls per step."""

    _nothing: AbstractContextManager[Any] = nullcontext()

    # Lightning's method is a @contextmanager, which mypy gives a type private to contextlib.
    # Callers do no more than `with`, for which any context manager is enough.
    def profile(self, action_name: str) -> AbstractContextManager[Any]:  # type: ignore[override]
        return self._nothing
