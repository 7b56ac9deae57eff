"""A picture of the images generated along one code."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vae_lab.pictures.canvas import captioned, grid, short

__all__ = ["code_sweep"]

_GAP = 3
_LINE = torch.tensor([0.84, 0.15, 0.16]).view(3, 1, 1)


def code_sweep(
    images: Tensor,
    values: Sequence[float],
    extent: float,
    share: float,
    rows: Sequence[str],
    title: str,
) -> Tensor:
    """Draw one column per value of a code, with red lines around the training's usual range.

    There are no lines if it holds all values, or none.

    Args:
        images: Images row by row, one per value, shape (rows * values, C, H, W).
        values: The values, in ascending order.
        extent: The usual range is from -extent to extent.
        share: Share of training's draws in that range.
        rows: Names of the rows.
        title: The title, to which the meaning of the lines is added.
    """
    sheet = grid(images, len(values), _GAP).clone()
    cell = (sheet.shape[2] - _GAP) // len(values)
    inside = [i for i, value in enumerate(values) if abs(value) <= extent + 1e-6]
    if 0 < len(inside) < len(values):
        most = "all that" if share == 1 else f"{share:.0%} of what"
        title += f"; between the red lines {most} training sees"
        for edge in (inside[0], inside[-1] + 1):
            sheet[:, :, edge * cell : edge * cell + _GAP] = _LINE
    return captioned(sheet, title, rows, [short(value) for value in values])
