"""Class names, placed legibly among points."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["MOST", "apart", "medians", "part_names", "shortened", "write_names"]

MOST = 20
"""Classes that are named among their points; the names of more would hide those."""

_GAP = 4.0
"""Pixels between two names, for the plates beneath them."""


def medians(points: Tensor, classes: Tensor) -> dict[int, list[float]]:
    """Return the position of each class's name, the median of its points (N, 2)."""
    there = sorted(set(classes.tolist()))
    return {k: points[classes == k].median(0).values.tolist() for k in there}


def write_names(axes: "Axes", names: Sequence[str], places: Iterable[Sequence[float]]) -> None:
    """Write names, if they are few, at their positions, until `part_names` moves them."""
    if len(names) > MOST:
        return
    plate = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}
    for name, (x, y) in zip(names, places, strict=True):
        short = shortened(name)
        axes.text(x, y, short, ha="center", va="center", fontsize=13, bbox=plate, gid="class")


def shortened(name: str) -> str:
    """Shorten a long name, which would cover the points; the legend shows it in full."""
    return name if len(name) <= 16 else f"{name[:15]}…"


def part_names(figure: "Figure") -> None:
    """Move names that overlap or lie outside their axes; call it after the layout."""
    named = [[text for text in axes.texts if text.get_gid() == "class"] for axes in figure.axes]
    if not any(named):
        return
    for axes, texts in zip(figure.axes, named, strict=True):
        boxes = [text.get_window_extent() for text in texts]
        corners = torch.from_numpy(np.array([box.extents for box in boxes])).view(-1, 2, 2)
        sizes = corners[:, 1] - corners[:, 0] + _GAP
        within = torch.from_numpy(axes.get_window_extent().get_points())
        centres = apart(corners.mean(1), sizes, within)
        places = axes.transData.inverted().transform(centres.numpy())
        for text, place in zip(texts, places, strict=True):
            text.set_position(tuple(place))


def apart(centres: Tensor, sizes: Tensor, within: Tensor | None = None) -> Tensor:
    """Move overlapping boxes of the plane apart; those that coincide form a column.

    Args:
        centres: Their centres, shape (K, 2), in double precision, as they may be close.
        sizes: Their widths and heights, same shape.
        within: The lowest and highest corners of the area for them, shape (2, 2).

    Returns:
        The centres; those of boxes without overlap move by at most a hundredth of a box.
    """
    # Boxes that coincide have no direction to move in.
    angles = 1 + torch.arange(len(centres)) * (2 * torch.pi / max(1, len(centres)))
    centres = centres + 0.01 * sizes * torch.stack([angles.cos(), angles.sin()], 1)
    others = ~torch.eye(len(centres), dtype=torch.bool)[..., None]
    reach = (sizes[:, None] + sizes) / 2
    low, high = (-torch.inf, torch.inf) if within is None else (within[0], within[1])
    for _ in range(1000):
        centres = torch.minimum(torch.maximum(centres, low + sizes / 2), high - sizes / 2)
        away = centres[:, None] - centres
        left = reach - away.abs()
        overlaps = (left > 0).all(-1, keepdim=True) & others
        if not overlaps.any():
            break
        # The shorter way, a little more than half of it, as the other box moves too.
        shorter = left == left.amin(-1, keepdim=True)
        push = shorter * away.sign() * (0.5 * left + 0.02 * reach) * overlaps
        centres = centres + push.sum(1)
    return centres
