"""Checkpoints that are either the old file or the new one, never half of one."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from vae_lab import checkpoints
from vae_lab.files import atomic

__all__ = ["AtomicCheckpointIO"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, then renames over it; loads tensors and plain values only."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Save atomically.

        Raises:
            LabError: If the disk does not take the file; whatever stood there before still does.
        """
        # torch's own writer hides why a disk refused; a plain write says it.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with atomic(path) as file:
            file.write(buffer.getbuffer())

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Load to the CPU.

        Raises:
            LabError: If the file is unreadable, damaged, foreign or unsafe.
        """
        return checkpoints.read(Path(path))
