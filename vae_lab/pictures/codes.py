"""A sheet of what a generator makes of one of its codes."""

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
    """Draw one column a value of a code, red lines around those that training sees most.

    Where that is all of them, or none, there are no lines.

    Args:
        images: Row by row, one a value each, shape (rows * values, C, H, W).
        values: The values, in ascending order.
        extent: Training sees values from minus this to this
        share: in so large a part of its draws, 1 where it sees no others.
        rows: What the rows are called.
        title: One line over all, to which the lines' meaning is added.
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
