"""Image files, one at a time: read as a model takes them, or named where they are damaged."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vae_lab.errors import LabError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

__all__ = ["Open", "open_image", "opened", "read_images"]

Open = Callable[[Path], "Image"]


def open_image(path: Path, channels: int, size: tuple[int, int] | None = None) -> "Image":
    """Read an image as grey or RGB, upright, filling `size` (height, width), cropped to it."""
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        if size:  # A large JPEG, maybe on its side, need not be decoded in full to be shown small.
            image.draft(None, (2 * max(size), 2 * max(size)))
        upright = _on_white(_eight_bit(ImageOps.exif_transpose(image)))
        upright = upright.convert("L" if channels == 1 else "RGB")
    return ImageOps.fit(upright, size[::-1], Image.Resampling.BICUBIC) if size else upright


def _eight_bit(image: "Image") -> "Image":
    """Scale grey levels of 16 bits, which PIL would cut off at 255."""
    import numpy as np
    from PIL import Image

    if image.mode == "F":
        raise ValueError("its pixels are real numbers, of which nobody knows the range")
    if not image.mode.startswith("I"):
        return image
    levels = np.asarray(image)
    if levels.min() < 0 or levels.max() > 0xFFFF:
        raise ValueError("its pixels have more than 16 bits")
    return Image.fromarray((levels // 0x101).astype(np.uint8))


def _on_white(image: "Image") -> "Image":
    """Put what is transparent on white; PIL would show the colour that lies hidden below."""
    from PIL import Image

    if not image.has_transparency_data:
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA"))


def opened(path: Path, opener: Open) -> "Image":
    """Open an image, or say which one is missing or damaged.

    Raises:
        LabError: If `opener` fails.
    """
    try:
        return opener(path)
    except FileNotFoundError as error:
        raise LabError(f"There is no file {path}.") from error
    # PIL raises a dozen kinds of error on a damaged file, SyntaxError among them.
    except Exception as error:
        raise LabError(
            f"{path} is no image that can be read ({error}). Mend or remove it."
        ) from error


def read_images(paths: Sequence[Path], opener: Open) -> "Tensor":
    """Read images that `opener` makes of one size, 8-bit, shape (N, C, H, W).

    Raises:
        LabError: If one is missing or damaged.
    """
    import torch
    from torchvision.transforms.functional import pil_to_tensor

    return torch.stack([pil_to_tensor(opened(path, opener)) for path in paths])
