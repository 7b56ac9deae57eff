"""Pictures of clusters."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vae_lab.errors import LabError
from vae_lab.pictures.canvas import captioned, grid

__all__ = ["clusters"]

COLUMNS = 10


def clusters(images: Tensor, captions: Sequence[str], title: str = "clusters") -> Tensor:
    """Draw one image per cluster, with captions.

    Args:
        images: One image per cluster, shape (K, C, H, W).
        captions: A short caption per cluster.
        title: One line above all.

    Returns:
        The picture, shape (3, H, W), in [0, 1].

    Raises:
        LabError: If the numbers of images and captions differ.
    """
    if len(images) != len(captions):
        raise LabError(f"{len(images)} images and {len(captions)} captions do not match.")
    columns = min(COLUMNS, len(images))
    missing = -len(images) % columns
    tiles = torch.cat([images, images.new_ones(missing, *images.shape[1:])])
    words = [*captions, *[""] * missing]
    rows = [
        captioned(grid(tiles[k : k + columns], columns), columns=words[k : k + columns])
        for k in range(0, len(tiles), columns)
    ]
    return captioned(torch.cat(rows, 1), title)
