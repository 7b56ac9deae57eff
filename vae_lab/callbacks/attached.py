"""The callbacks of a trainer."""

from lightning import Trainer
from lightning.pytorch.callbacks import Callback

__all__ = ["attached"]


def attached(trainer: Trainer) -> list[Callback]:
    """Return the trainer's own list of callbacks, including those that Lightning added."""
    # `callbacks` is public, but Lightning's callback connector sets it from outside: the class
    # Trainer declares none for mypy to see.
    found: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return found
