"""Sheets of images under conditions."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vae_lab.errors import LabError
from vae_lab.pictures.canvas import WIDTH, captioned, grid
from vae_lab.pictures.names import shortened

__all__ = ["class_rows", "completions", "transfer"]


def class_rows(
    images: Tensor,
    classes: Sequence[str],
    title: str = "samples",
    width: int = WIDTH,
    of: str = "class",
) -> Tensor:
    """Draw one row per class, with the same noise in each column.

    A conditional prior maps the noise to another code for each class.

    Args:
        images: Images class by class, equally many of each, shape (classes * n, C, H, W).
        classes: Names of the classes.
        title: Beginning of the title.
        width: Width in pixels that the images fit in.
        of: Meaning of a row, such as a value of a code.

    Raises:
        LabError: If the number of images is not a multiple of the number of classes.
    """
    n, rest = divmod(len(images), len(classes))
    if rest:
        raise LabError(f"{len(images)} images are not as many of each of {len(classes)} classes.")
    title = f"{title}: one row a {of}, one column a noise"
    return captioned(grid(images, n, width=width), title, rows=classes)


def transfer(
    styles: Tensor,
    images: Tensor,
    classes: Sequence[str],
    title: str = "style transfer: the style of the image on the left, the class of the column",
) -> Tensor:
    """Draw each image beside its style under every class.

    A style is the code relative to the prior of its class, and moves with that prior.

    Args:
        styles: Images whose styles are used, shape (N, C, H, W).
        images: For each of them one of every class, shape (N * classes, C, H, W).
        classes: Names of the classes.
        title: One line above all.

    Raises:
        LabError: If the number of images is not that of styles times classes.
    """
    if len(images) != len(styles) * len(classes):
        raise LabError(f"{len(images)} images are not {len(classes)} for each of {len(styles)}.")
    rows = images.view(len(styles), len(classes), *images.shape[1:])
    sheet = torch.cat([styles.to(rows).unsqueeze(1), rows], 1).flatten(0, 1)
    columns = ["image", *map(shortened, classes)]
    return captioned(grid(sheet, len(columns)), title, columns=columns)


def completions(known: Tensor | None, truth: Tensor, draws: Tensor) -> Tensor:
    """Draw in each column the known part of an image, the image, and several completions.

    Args:
        known: The known parts, shape (N, C', H, W), or None if the condition is not an image.
        truth: Images, shape (N, C, H, W).
        draws: n completions of each image, shape (n, N, C, H, W).
    """
    rows = [truth, *draws.to(truth)]
    names = ["truth", *(f"draw {i + 1}" for i in range(len(draws)))]
    if known is not None:
        if known.shape[1] != truth.shape[1]:
            known = known.mean(1, keepdim=True).expand_as(truth)
        rows, names = [known.to(truth), *rows], ["known", *names]
    return captioned(grid(torch.cat(rows), len(truth)), "draws given what is known", rows=names)
