"""Load a run's model and data back."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from vae_lab import checkpoints
from vae_lab.runs.finding import checkpoint_of

if TYPE_CHECKING:
    from lightning import LightningModule

    from vae_lab.contracts import Images

__all__ = ["load_data", "load_model"]


def load_model(path: str | Path) -> "LightningModule":
    """Load a model on the CPU, in evaluation mode, from a run or a checkpoint.

    Raises:
        LabError: If there is no checkpoint, or it is damaged, foreign or unsafe.
    """
    from lightning import LightningModule

    return checkpoints.load(LightningModule, checkpoint_of(path)).eval()


def load_data(path: str | Path) -> "Images":
    """Load the data module that a model was trained with, from a run or a checkpoint.

    Raises:
        LabError: If there is no checkpoint, or it is damaged, foreign or unsafe.
    """
    return cast("Images", checkpoints.load_data(checkpoint_of(path)))
