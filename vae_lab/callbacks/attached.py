"""Which callbacks a trainer has."""

from lightning import Trainer
from lightning.pytorch.callbacks import Callback

__all__ = ["attached"]


def attached(trainer: Trainer) -> list[Callback]:
    """Return all callbacks of a trainer, Lightning's own among them."""
    # Lightning's Trainer declares no `callbacks`, so mypy knows of none: its callback connector
    # sets it.
    return list(trainer.callbacks)  # type: ignore[attr-defined]
