"""Parts of images, for models that complete them."""

import torch
from torch import Tensor

__all__ = ["quadrants"]


def quadrants(x: Tensor, known: int) -> Tensor:
    """Show some quadrants of images: the bottom left, then the top left, then the top right.

    The order is that of Pyro's re-implementation of Sohn et al. (2015).

    Args:
        x: Images, shape (B, C, H, W).
        known: Number of quadrants shown, from 1 to 3.

    Returns:
        The images, black where they are hidden, with the mask of the shown pixels as an additional
        channel, shape (B, C + 1, H, W).
    """
    half, middle = x.shape[-2] // 2, x.shape[-1] // 2
    mask = torch.zeros_like(x[:, :1])
    mask[..., half:, :middle] = 1
    if known > 1:
        mask[..., :half, :middle] = 1
    if known > 2:
        mask[..., :half, middle:] = 1
    return torch.cat([x * mask, mask], 1)
