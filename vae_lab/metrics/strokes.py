"""Slant, stroke width and height of handwriting, light on dark."""

import math

import torch
from torch import Tensor

from vae_lab.precision import doubled

__all__ = ["correlations", "height", "slant", "stroke_width"]


def slant(x: Tensor) -> Tensor:
    r"""Shear of the strokes by second moments, in columns to the right per row upwards.

    .. math:: -\mu_{11} / \mu_{02}

    Args:
        x: Images in [0, 1], shape (N, C, H, W).

    Returns:
        Shape (N,); 0 for a black image, or one of a single row.
    """
    across, down, ink = _centred(x)
    mixed, vertical = ((part * ink).sum((1, 2)) for part in (across * down, down.square()))
    # For a single row, rounding leaves moments that are not quite zero.
    tall = vertical > 1e-12 * ink.sum((1, 2))
    return torch.where(tall, -mixed / vertical, 0.0).to(x)


def height(x: Tensor) -> Tensor:
    r"""Height of a uniform bar with the same vertical variance, in pixels.

    .. math:: \sqrt{12 \mu_{02} / \mu_{00} + 1}

    Args:
        x: Images in [0, 1], shape (N, C, H, W).

    Returns:
        Shape (N,).
    """
    _, down, ink = _centred(x)
    spread = (down.square() * ink).sum((1, 2)) / ink.sum((1, 2)).clamp(min=1e-12)
    return (12 * spread + 1).sqrt().to(x)


def stroke_width(x: Tensor) -> Tensor:
    r"""Area divided by half the length of the outline, in pixels: the width of a long stroke.

    .. math:: 2 \sum x / \sum |\nabla x|

    Args:
        x: Images in [0, 1], shape (N, C, H, W).

    Returns:
        Shape (N,); 0 for a black image.
    """
    ink = torch.nn.functional.pad(x.mean(1), (1, 1, 1, 1))
    # Differences of neighbouring pixels, where both directions have one.
    across = ink[:, 1:, 1:] - ink[:, 1:, :-1]
    down = ink[:, 1:, 1:] - ink[:, :-1, 1:]
    outline = (across.square() + down.square()).sqrt().sum((1, 2))
    return 2 * ink.sum((1, 2)) / outline.clamp(min=1e-12)


def correlations(code: Tensor, groups: Tensor, x: Tensor) -> dict[str, float]:
    """Correlate a code with slant, stroke width and height, within groups such as digits.

    Both are centred within their group, so that differences between digits do not count. Several
    kinds of groups are centred in turn, as there may be more combinations than images.

    Args:
        code: One number per image, shape (N,).
        groups: The group of each image in each kind, shape (N, kinds).
        x: Images in [0, 1], shape (N, C, H, W).

    Returns:
        Pearson's correlation with `slant`, `stroke_width` and `height`, 0 if one is constant.
    """
    found = {}
    for measure in (slant, stroke_width, height):
        a, b = (_within(values.double(), groups) for values in (code, measure(x)))
        size = math.sqrt(float(a.square().sum() * b.square().sum()))
        found[measure.__name__] = float((a * b).sum()) / size if size else 0.0
    return found


def _within(values: Tensor, groups: Tensor) -> Tensor:
    """Subtract the mean of each value's group, for each kind of groups (N, kinds) in turn."""
    for group in groups.long().unbind(1):
        counts = torch.bincount(group).clamp(min=1)
        values = values - (torch.bincount(group, values) / counts)[group]
    return values


def _centred(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return each pixel's distances from the centre of mass, right and down, and its value.

    All of shape (N, H, W), in double precision.
    """
    ink = doubled(x.mean(1))
    total = ink.sum((1, 2), keepdim=True).clamp(min=1e-12)
    rows = torch.arange(ink.shape[1]).to(ink).view(1, -1, 1)
    columns = torch.arange(ink.shape[2]).to(ink).view(1, 1, -1)
    down = rows - (rows * ink).sum((1, 2), keepdim=True) / total
    across = columns - (columns * ink).sum((1, 2), keepdim=True) / total
    return across.expand_as(ink), down.expand_as(ink), ink
