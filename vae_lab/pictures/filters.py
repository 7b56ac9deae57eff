"""Filters of an encoder's first layer."""

import torch
from torch import Tensor, nn

from vae_lab.contracts import Shape
from vae_lab.errors import LabError
from vae_lab.pictures.canvas import captioned, grid
from vae_lab.pictures.sheets import columns_of

__all__ = ["filters", "first_layer"]

_SMALLEST = 4
"""Pixels a side below which a kernel shows nothing."""


def first_layer(encoder: nn.Module, shape: Shape) -> Tensor:
    """Return the weights of an encoder's first layer as images.

    Args:
        encoder: A network whose first layer is linear or a convolution.
        shape: Channels, height and width of the images that it takes.

    Returns:
        One image per unit, shape (N, C, H, W), or per kernel of a convolution.

    Raises:
        LabError: If the first layer is neither, its input is not the pixels, or its kernels are
            smaller than 4 pixels.
    """
    layers = (m for m in encoder.modules() if isinstance(m, nn.Linear | nn.Conv2d))
    layer = next(layers, None)
    if isinstance(layer, nn.Linear) and layer.in_features == torch.Size(shape).numel():
        return layer.weight.detach().view(-1, *shape)
    if isinstance(layer, nn.Conv2d) and min(layer.kernel_size) >= _SMALLEST:
        return layer.weight.detach()
    raise LabError(
        f"{type(encoder).__name__} has no filters to draw: its first layer is neither linear on "
        f"pixels nor a convolution by at least {_SMALLEST} x {_SMALLEST} of them."
    )


def filters(weights: Tensor, name: str = "filters", at_most: int = 100) -> Tensor:
    """Draw filters by decreasing norm, each with its own scale around grey.

    If there are too many, those drawn are evenly spaced in the order of norms.

    Args:
        weights: Filters, shape (N, C, H, W). Grey stands for 0, white for the largest absolute
            weight of the same filter, black for its negative.
        name: Beginning of the title.
        at_most: Largest number of filters to draw.

    Raises:
        LabError: If there is no filter, or `at_most` is below 1.
    """
    if weights.ndim != 4 or not weights.numel() or at_most < 1:
        raise LabError(
            f"Filters are images (N, C, H, W), and at least one; got {tuple(weights.shape)}."
        )
    order = weights.flatten(1).norm(dim=1).argsort(descending=True)
    count = min(at_most, len(order))
    drawn = weights[order[torch.linspace(0, len(order) - 1, count).round().long()]]
    title = f"{name}: {count} of {len(order)}, from the strongest to the weakest; grey is 0"
    return captioned(grid(_around_grey(drawn), columns_of(drawn, at_most=20)), title)


def _around_grey(weights: Tensor) -> Tensor:
    largest = weights.abs().amax((1, 2, 3), keepdim=True)
    # A filter of zeros is shown as grey.
    return 0.5 + weights / (2 * largest).clamp(min=torch.finfo(weights.dtype).tiny)
