"""Images of a code plane, decoded beforehand, for a page that cannot decode."""

import base64
import io
import math
from typing import TYPE_CHECKING, Any

from vae_lab.contracts import Conditional

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["atlas", "sheets"]

SHEET_IMAGES, SHEET_SIDE = 4096, 2048
"""Images in all the sheets of a page, and the longest side of one in pixels."""


def atlas(model: Any, plane: dict[str, Any]) -> dict[str, Any]:
    """Return `sheets` for the page: their side, and each as the data URL of a PNG."""
    side, found = sheets(model, plane)
    coded = [base64.b64encode(_png(sheet)).decode() for sheet in found]
    return {"side": side, "sheets": [f"data:image/png;base64,{png}" for png in coded]}


def sheets(model: Any, plane: dict[str, Any]) -> tuple[int, list["Tensor"]]:
    """Decode the centres of the cells of a grid over the plane.

    Args:
        model: A model of two-dimensional codes.
        plane: Its limits, as in `view`.

    Returns:
        Cells per side, and for each class a sheet (C, side * H, side * W) in [0, 1], whose lower
        left image is that of the lowest codes.
    """
    import torch

    channels, height, width = model.shape
    classes = model.classes if isinstance(model, Conditional) else None
    side = min(math.isqrt(SHEET_IMAGES // (classes or 1)), SHEET_SIDE // max(height, width), 40)
    side = max(side, 2)
    shares = (torch.arange(side) + 0.5) / side
    x, y = (lo + shares * (hi - lo) for lo, hi in zip(plane["low"], plane["high"], strict=True))
    z = torch.cartesian_prod(y.flip(0), x).flip(1)
    found = []
    for k in range(classes or 1):
        given = torch.full((side,), k) if classes else None
        images = torch.stack([model.decode(row, given) for row in torch.split(z, side)])
        found.append(images.permute(2, 0, 3, 1, 4).reshape(channels, side * height, side * width))
    return side, found


def _png(sheet: "Tensor") -> bytes:
    from PIL import Image

    if len(sheet) not in (1, 3):
        sheet = sheet.mean(0, keepdim=True)
    pixels = (sheet.clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(2).numpy()).save(buffer, format="PNG")
    return buffer.getvalue()
