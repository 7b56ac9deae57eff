"""How many epochs a checkpoint takes for done."""

from collections.abc import Iterator
from contextlib import contextmanager

from lightning import Trainer
from lightning.pytorch.loops.progress import _ProcessedTracker

__all__ = ["count_epoch", "rightly_counted"]


def count_epoch(trainer: Trainer, by: int) -> None:
    """Change how many epochs Lightning takes for done."""
    epochs = trainer.fit_loop.epoch_progress
    for count in (epochs.current, epochs.total):
        assert isinstance(count, _ProcessedTracker)
        count.processed += by


@contextmanager
def rightly_counted(trainer: Trainer) -> Iterator[None]:
    """Take an epoch for undone meanwhile, where training ends in its middle.

    Lightning counts it, and what went on from such a checkpoint would leave out the rest of it.
    """
    undone = not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
    count_epoch(trainer, -undone)
    yield
    count_epoch(trainer, undone)
