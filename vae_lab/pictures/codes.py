"""Sheets of what a generator makes of its codes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vae_lab.pictures.canvas import captioned, grid

__all__ = ["code_rows", "code_sweep"]

_GAP = 3
_LINE = torch.tensor([0.84, 0.15, 0.16]).view(3, 1, 1)


def code_rows(images: Tensor, rows: Sequence[str], title: str) -> Tensor:
    """Draw one row a value of a code, the images of a column made from one noise.

    Args:
        images: Row by row, as many each, shape (rows * n, C, H, W).
        rows: What the values are called.
        title: One line over all.
    """
    return captioned(grid(images, len(images) // len(rows), _GAP), title, rows=rows)


def code_sweep(
    images: Tensor, values: Sequence[float], trained: float, rows: Sequence[str], title: str
) -> Tensor:
    """Draw one column a value of a code, red lines around those that training has seen.

    Where it has seen all of them, or none, there are no lines.

    Args:
        images: Row by row, one a value each, shape (rows * values, C, H, W).
        values: The values, in ascending order.
        trained: Training has seen values from minus this to this.
        rows: What the rows are called.
        title: One line over all, to which the lines' meaning is added.
    """
    sheet = grid(images, len(values), _GAP).clone()
    cell = (sheet.shape[2] - _GAP) // len(values)
    inside = [i for i, value in enumerate(values) if abs(value) <= trained + 1e-6]
    if 0 < len(inside) < len(values):
        title += "; between the red lines what training has seen"
        for edge in (inside[0], inside[-1] + 1):
            sheet[:, :, edge * cell : edge * cell + _GAP] = _LINE
    columns = [f"{round(value, 2) + 0.0:g}" for value in values]  # adding zero turns -0 into 0
    return captioned(sheet, title, rows, columns)
