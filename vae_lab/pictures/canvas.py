"""Tiling, captions and files, shared by all pictures."""

import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from vae_lab.errors import LabError
from vae_lab.files import atomic
from vae_lab.pictures.fonts import font_file

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

__all__ = [
    "WIDTH",
    "beside",
    "captioned",
    "from_bytes",
    "grid",
    "save_png",
    "short",
    "signed",
    "stacked",
    "to_png",
]

WIDTH = 1200
"""Pixels of most pictures: small images are enlarged while they fit."""

_APART = 1.1
"""Widths of a label from the middle of one to that of the next."""

_SMALLEST = 12
"""Pixels of the smallest letters that are read."""

_MAGENTA = (1.0, 0.0, 1.0)


def grid(images: Tensor, columns: int, gap: int = 3, width: int = WIDTH) -> Tensor:
    """Tile images row by row, small ones enlarged by an integer factor.

    Args:
        images: Images in [0, 1], shape (N, C, H, W). Values outside are clipped, NaN is shown as
            magenta, and channel counts other than 1 and 3 are averaged to grey.
        columns: Images per row.
        gap: White pixels around each image.
        width: Width in pixels that enlarged images fit in; the height is at most twice that.

    Returns:
        The grid, shape (3, H', W'), in [0, 1].

    Raises:
        LabError: If there is no image to draw.
    """
    if images.ndim != 4 or not images.numel() or columns < 1:
        raise LabError(f"A grid needs images (N, C, H, W), not a tensor {tuple(images.shape)}.")
    rows = math.ceil(len(images) / columns)
    cell = (width // columns - gap, 2 * width // rows - gap)
    factor = max(1, min(cell[0] // images.shape[3], cell[1] // images.shape[2]))
    large = _rgb(images).repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    large = torch.cat([large, large.new_ones(rows * columns - len(large), *large.shape[1:])])
    framed = pad(large, (gap, 0, gap, 0), value=1.0)
    tiles = framed.view(rows, columns, *framed.shape[1:])
    image = tiles.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)
    return pad(image, (0, gap, 0, gap), value=1.0)


def _rgb(images: Tensor) -> Tensor:
    images = images.detach().float().cpu()
    if images.shape[1] != 3:
        images = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    magenta = torch.tensor(_MAGENTA).view(3, 1, 1)
    return torch.where(images.isnan(), magenta, images.clamp(0, 1))


def captioned(
    image: Tensor,
    title: str = "",
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> Tensor:
    """Add a title above an image, and labels beside its rows and above its columns.

    Args:
        image: Image, shape (3, H, W), in [0, 1], with rows of equal height and columns of equal
            width.
        title: One line; the image is widened if the line is longer.
        rows: One label per row, thinned out evenly if they would touch.
        columns: One label per column, in smaller letters if all fit so, else thinned out.

    Returns:
        The larger image, shape (3, H', W'), in [0, 1].
    """
    from PIL import Image, ImageDraw

    height, width = image.shape[-2:]
    size = max(16, min(24, width // 45))
    font = _font(size, [title, *rows, *columns])
    left = math.ceil(max((font.getlength(r) + size for r in rows), default=0))
    line = math.ceil(1.5 * size)
    top = line * (bool(title) + bool(columns))
    canvas_width = max(left + width, math.ceil(font.getlength(title)) + size)
    canvas = Image.new("RGB", (canvas_width, top + height), "white")
    canvas.paste(Image.fromarray(_to_bytes(image)), (left, top))
    draw = ImageDraw.Draw(canvas)
    draw.text((size // 2, line // 2), title, "black", font, anchor="lm")
    for y, label in _spread(rows, height, size):
        draw.text((left - size // 2, top + y), label, "black", font, anchor="rm")
    font, widest = _column_font(columns, width, font)
    for x, label in _spread(columns, width, widest):
        draw.text((left + x, top - line // 2), label, "black", font, anchor="mm")
    return from_bytes(np.array(canvas))


def _font(size: int, words: Sequence[str]) -> "FreeTypeFont":
    """Return PIL's own font or, as that has only ASCII, one with the words' letters."""
    from PIL import ImageFont

    if all(word.isascii() for word in words):
        return cast("FreeTypeFont", ImageFont.load_default(size))
    return ImageFont.truetype(font_file(words), size)


def _column_font(
    columns: Sequence[str], width: int, font: "FreeTypeFont"
) -> "tuple[FreeTypeFont, float]":
    """Return a font in which all labels fit side by side, and the width of the widest.

    If it would be too small to read, the given font is returned.
    """
    widest = max((font.getlength(c) for c in columns), default=0.0)
    size = int(font.size * width / len(columns) / (_APART * widest)) if widest else 0
    if not _SMALLEST <= size < font.size:
        return font, widest
    font = font.font_variant(size=size)
    return font, max(font.getlength(c) for c in columns)


def from_bytes(pixels: NDArray[np.uint8]) -> Tensor:
    """Convert bytes (H, W, 3) to an image (3, H, W) in [0, 1]."""
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


def _to_bytes(image: Tensor) -> NDArray[np.uint8]:
    return (image * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def _spread(labels: Sequence[str], length: int, extent: float) -> Iterator[tuple[float, str]]:
    """Yield the centre of each label's cell, leaving out labels that would touch."""
    if labels:
        cell = length / len(labels)
        every = math.ceil(_APART * extent / cell)
        for i in range(0, len(labels), every):
            yield (i + 0.5) * cell, labels[i]


def short(value: float) -> str:
    """Format a number for a column label, with at most two decimals."""
    return f"{round(value, 2) + 0.0:g}"  # adding zero turns -0 into 0


def stacked(images: Sequence[Tensor]) -> Tensor:
    """Stack pictures (3, H, W) vertically, padded with white to the same width."""
    width = max(image.shape[2] for image in images)
    return torch.cat([pad(i, (0, width - i.shape[2]), value=1.0) for i in images], 1)


def beside(images: Sequence[Tensor]) -> Tensor:
    """Place pictures (3, H, W) side by side, with white gaps, padded to the same height."""
    return stacked([pad(image, (0, 20), value=1.0).mT for image in images]).mT


def signed(picture: Tensor, *words: str) -> Tensor:
    """Add a line below a picture (3, H, W) that says what it is of."""
    return stacked([picture, captioned(picture[:, :1], ", ".join(words))[:, :-1]])


def to_png(image: Tensor) -> bytes:
    """Encode an image, shape (3, H, W), in [0, 1], as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    # Training waits for this: the lowest level saves a third of the time for a fifth more bytes.
    Image.fromarray(_to_bytes(image)).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def save_png(image: Tensor, path: str | Path) -> None:
    """Write an image, shape (3, H, W), in [0, 1], as PNG, atomically.

    Raises:
        LabError: If the file cannot be written.
    """
    with atomic(path) as file:
        file.write(to_png(image))
