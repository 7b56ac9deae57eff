"""The number of finished epochs that a checkpoint records."""

from collections.abc import Iterator
from contextlib import contextmanager

from lightning import Trainer
from lightning.pytorch.loops.progress import _ProcessedTracker

__all__ = ["count_epoch", "rightly_counted"]


def count_epoch(trainer: Trainer, by: int) -> None:
    """Add `by` to the number of epochs that Lightning counts as processed."""
    epochs = trainer.fit_loop.epoch_progress
    for count in (epochs.current, epochs.total):
        assert isinstance(count, _ProcessedTracker)
        count.processed += by


@contextmanager
def rightly_counted(trainer: Trainer) -> Iterator[None]:
    """Count the epoch as unfinished within the context, if training ends in its middle.

    Lightning counts it as finished, so that a resumed run would skip the rest of it.
    """
    undone = not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
    count_epoch(trainer, -undone)
    yield
    count_epoch(trainer, undone)
