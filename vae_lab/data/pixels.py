"""Operations on chunks and batches of 8-bit images, and their random streams."""

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

__all__ = ["draw", "generator", "prepare", "seed_of", "shifted"]


def seed_of(*keys: int) -> int:
    """Mix non-negative integers into one seed, the same on every machine and version.

    Trailing zeros change nothing, so different keys must differ before them.
    """
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0])


def generator(*keys: int) -> Generator:
    """Return a CPU random generator seeded with these keys."""
    return Generator().manual_seed(seed_of(*keys))


def draw(pixels: Tensor, stream: Generator) -> Tensor:
    r"""Draw binary pixels with P(x = 1) = pixel / 255, shape and device of `pixels`.

    Each pixel is compared with a random integer below 255, so that 0 is never set and 255 always
    is. The integer is a 32-bit one modulo 255, uniform up to :math:`2^{-32}`.
    """
    return torch.empty_like(pixels).random_(0, 255, generator=stream) < pixels


def shifted(pixels: Tensor, by: int, stream: Generator) -> Tensor:
    """Shift each image (N, C, H, W) by up to `by` pixels along both axes, filled with black."""
    n, _, height, width = pixels.shape
    views = pad(pixels, (by, by, by, by)).unfold(2, height, 1).unfold(3, width, 1)
    down, right = torch.randint(2 * by + 1, (2, n), generator=stream, device=pixels.device)
    return views[torch.arange(n, device=pixels.device), :, down, right]


def prepare(
    pixels: Tensor, channels: int, size: tuple[int, int], border: int, threshold: bool
) -> Tensor:
    """Change channels and size, add a border, and optionally round to black and white.

    Args:
        pixels: 8-bit images, shape (N, C, H, W).
        channels: 1 turns colour into luma, 3 repeats grey.
        size: Height and width to scale to, with antialiasing.
        border: Black pixels added on each side.
        threshold: Whether to round each pixel to 0 or 255.
    """
    from torchvision.transforms.v2 import functional as F

    if channels != pixels.shape[1]:
        pixels = _luma(pixels) if channels == 1 else pixels.expand(-1, 3, -1, -1)
    if size != tuple(pixels.shape[2:]):
        pixels = F.resize(pixels, list(size), antialias=True)
    if border:
        pixels = F.pad(pixels, [border])
    return (pixels > 127) * 255 if threshold else pixels


def _luma(pixels: Tensor) -> Tensor:
    """Return colour as grey, rounded as PIL does; torchvision cuts off: of 255 it makes 254."""
    weights = torch.tensor([19595, 38470, 7471]).view(3, 1, 1)
    return ((pixels * weights).sum(1, keepdim=True) + 2**15 >> 16).byte()
