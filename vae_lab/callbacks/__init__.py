"""Callbacks that draw, measure and save; they rely on a model's capabilities, not its class."""

from vae_lab.callbacks.best import Best
from vae_lab.callbacks.checkpoint_io import AtomicCheckpointIO
from vae_lab.callbacks.last import Last
from vae_lab.callbacks.likeness import Likeness
from vae_lab.callbacks.monitors import Monitors
from vae_lab.callbacks.pictures import Pictures
from vae_lab.callbacks.progress import Progress
from vae_lab.callbacks.projector import Projector
from vae_lab.callbacks.record import Record

__all__ = [
    "AtomicCheckpointIO",
    "Best",
    "Last",
    "Likeness",
    "Monitors",
    "Pictures",
    "Progress",
    "Projector",
    "Record",
]
