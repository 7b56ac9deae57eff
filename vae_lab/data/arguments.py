"""Checks of a data module's arguments and of the images that a source returns."""

from typing import Any

import torch
from torch import Tensor

from vae_lab.arguments import at_least
from vae_lab.contracts import Shape
from vae_lab.errors import LabError
from vae_lab.words import counted

__all__ = ["readable", "sides", "together", "trainable"]


def sides(resize: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the height and width that `resize` asks for.

    Raises:
        LabError: If a side is below one pixel.
    """
    if resize is None:
        return None
    height, width = (resize, resize) if isinstance(resize, int) else resize
    at_least(1, resize=min(height, width))
    return height, width


def together(
    binarize: str, quadrants: int | None, limit: int | None, limit_seed: int | None
) -> None:
    """Check arguments that need one another.

    Raises:
        LabError: If `quadrants` is given without `binarize`, or `limit_seed` without `limit`.
    """
    if quadrants and binarize == "none":
        raise LabError("quadrants are of black and white images: give binarize too.")
    if limit_seed is not None and limit is None:
        raise LabError("limit_seed draws the images that limit leaves: give limit too.")


def readable(images: Any, labels: Any, source: Any) -> None:
    """Check what a source's `read` returned, since a user's own may return anything.

    Raises:
        LabError: If images are not 8-bit, of shape (N, C, H, W), with one or three channels and
            the source's size; or if labels differ in number or exceed the named classes.
    """
    name, sizes = type(source).__name__, (tuple(source.native[1:]), source.size)
    if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.ndim != 4:
        found = f"{images.dtype} of {tuple(images.shape)}" if isinstance(images, Tensor) else ""
        found = found or type(images).__name__
        raise LabError(f"{name}.read returns 8-bit images of shape (N, C, H, W), not {found}.")
    if images.shape[1] not in (1, 3) or tuple(images.shape[2:]) not in sizes:
        raise LabError(
            f"{name}.read returned images of {tuple(images.shape[1:])}; they have 1 or 3 channels, "
            f"and `native` says {sizes[0]}."
        )
    if not isinstance(labels, Tensor) or len(labels) != len(images):
        raise LabError(f"{name}.read returns a tensor of as many labels as images, {len(images)}.")
    if source.num_classes and labels.ndim == 1 and labels.max() >= source.num_classes:
        raise LabError(f"{name} has {source.num_classes} classes, and labels up to {labels.max()}.")


def trainable(images: int, batch_size: int, world: int, shift: int, shape: Shape) -> None:
    """Check what only training requires.

    Raises:
        LabError: If the batches of all processes need more images than there are, or `shift`
            could move an image out of the frame.
    """
    if shift >= (side := min(shape[1:])):
        raise LabError(
            f"shift must be below the shorter side of an image, {side} pixels; it is {shift}."
        )
    if images < batch_size * world:
        raise LabError(
            f"batch_size is {batch_size} on {counted(world, 'process')}, more than "
            f"{counted(images, 'training image')}. Lower it."
        )
