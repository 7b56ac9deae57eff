"""Parts of images, for models that are to complete them."""

import torch
from torch import Tensor

__all__ = ["quadrants"]


def quadrants(x: Tensor, known: int) -> Tensor:
    """Show some quadrants of images: the bottom left, then the top left, then the top right.

    These are the ones of Pyro's re-implementation of Sohn et al. (2015).

    Args:
        x: Images, shape (B, C, H, W).
        known: How many quadrants are shown, from 1 to 3.

    Returns:
        The images, black where they are hidden, and as one more channel the mask of what is shown,
        shape (B, C + 1, H, W).
    """
    half, middle = x.shape[-2] // 2, x.shape[-1] // 2
    mask = torch.zeros_like(x[:, :1])
    mask[..., half:, :middle] = 1
    if known > 1:
        mask[..., :half, :middle] = 1
    if known > 2:
        mask[..., :half, middle:] = 1
    return torch.cat([x * mask, mask], 1)
