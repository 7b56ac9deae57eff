"""Lightning without the calls that do nothing.

Lightning calls six hooks a batch on every callback and on the model, each under a profiler's
context, whether or not anybody overrode them: a tenth of a small model's step.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from lightning import LightningModule
from lightning.pytorch.callbacks import Callback
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
    """Hide the per-batch hooks that nobody overrode; Lightning passes over what is not callable."""
    for part in parts:
        base = Callback if isinstance(part, Callback) else LightningModule
        for hook in BATCH_HOOKS:
            if getattr(type(part), hook) is getattr(base, hook):
                setattr(part, hook, None)


class NoProfiler(PassThroughProfiler):
    """Profiles nothing, without making a new context for each of fifty calls a step."""

    _nothing: AbstractContextManager[Any] = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[Any]:  # type: ignore[override]
        # Lightning annotates its generator, not the context manager it is wrapped into.
        return self._nothing
