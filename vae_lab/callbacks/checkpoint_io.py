"""Checkpoints that are written atomically."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from vae_lab import checkpoints
from vae_lab.errors import LabError
from vae_lab.files import atomic

__all__ = ["AtomicCheckpointIO"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file, then renames it; loads tensors and plain values only."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Save atomically.

        Raises:
            LabError: If the file cannot be written, in which case the old one is kept, or if it
                could not be loaded again.
        """
        _check_plain(checkpoint)
        # torch's own writer hides the cause of a failed write.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with atomic(path) as file:
            file.write(buffer.getbuffer())

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Load a checkpoint to the CPU.

        Raises:
            LabError: If the file is unreadable, damaged, foreign or unsafe.
        """
        return checkpoints.read(Path(path))


def _check_plain(checkpoint: dict[str, Any]) -> None:
    """Refuse a state that `weights_only` could not load; a user's callback may hold anything."""
    weights = ("state_dict", "optimizer_states", "callbacks")
    parts = {key: part for key, part in checkpoint.items() if key not in weights}
    parts |= checkpoint.get("callbacks", {})
    if _is_plain(parts):
        return
    name = next(name for name, part in parts.items() if not _is_plain(part))
    raise LabError(
        f"The state of {name} holds objects besides tensors and plain values, so that its "
        "checkpoint would be refused: keep numbers as int or float."
    )


def _is_plain(part: Any) -> bool:
    torch.save(part, buffer := io.BytesIO())
    buffer.seek(0)
    try:
        torch.load(buffer, weights_only=True)
    except pickle.UnpicklingError:
        return False
    return True
