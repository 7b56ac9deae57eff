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
    """Draw one row a class, the images of a column made from one noise.

    Under each class a conditional prior makes another code of it.

    Args:
        images: Class by class, as many of each, shape (classes * n, C, H, W).
        classes: What they are called.
        title: What the title begins with.
        width: Pixels that the images are to fit in.
        of: What a row stands for, such as a value of a code.

    Raises:
        LabError: If the classes do not share the images evenly.
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
    """Draw each image beside what its style makes of every class.

    A style is where a code lies under the prior of its class: where that is moved, the code is too.

    Args:
        styles: Images whose styles are used, shape (N, C, H, W).
        images: For each of them one of every class, shape (N * classes, C, H, W).
        classes: What they are called.
        title: One line over all.

    Raises:
        LabError: If there are not as many images as styles and classes together ask for.
    """
    if len(images) != len(styles) * len(classes):
        raise LabError(f"{len(images)} images are not {len(classes)} for each of {len(styles)}.")
    rows = images.view(len(styles), len(classes), *images.shape[1:])
    sheet = torch.cat([styles.to(rows).unsqueeze(1), rows], 1).flatten(0, 1)
    columns = ["image", *map(shortened, classes)]
    return captioned(grid(sheet, len(columns)), title, columns=columns)


def completions(known: Tensor | None, truth: Tensor, draws: Tensor) -> Tensor:
    """Draw in each column what is known of an image, the image, and several draws given that.

    Args:
        known: What is known, shape (N, C', H, W), or None if that is no image.
        truth: Images, shape (N, C, H, W).
        draws: For each image n others, shape (n, N, C, H, W).
    """
    rows = [truth, *draws.to(truth)]
    names = ["truth", *(f"draw {i + 1}" for i in range(len(draws)))]
    if known is not None:
        if known.shape[1] != truth.shape[1]:
            known = known.mean(1, keepdim=True).expand_as(truth)
        rows, names = [known.to(truth), *rows], ["known", *names]
    return captioned(grid(torch.cat(rows), len(truth)), "draws given what is known", rows=names)
