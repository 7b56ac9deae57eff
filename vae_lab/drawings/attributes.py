"""Drawings of the effect of real-valued attributes."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from vae_lab import pictures
from vae_lab.contracts import Batch
from vae_lab.drawings.conditional import headed
from vae_lab.errors import LabError
from vae_lab.pictures import WIDTH
from vae_lab.randomness import reseed

__all__ = ["attribute_rows", "attribute_walks", "needs_attributes"]

MOST = 6
"""Maximum number of attributes drawn, as more have no room."""


def attribute_rows(
    model: Any,
    batch: Batch,
    n: int = 10,
    seed: int = 0,
    name: str | None = None,
    width: int = WIDTH,
    names: Sequence[str] = (),
) -> Tensor:
    """Draw samples, a row per value of an attribute from low to high, a column per noise."""
    middle = batch.y.median(0, keepdim=True).values
    rows, captions = [], []
    for number, value, y in _moved(middle, batch.y, steps=5):
        reseed(seed)
        rows.append(model.sample(n, y.expand(n, -1)))
        captions.append(f"{_called(number, names)} = {value:.2g}")
    title = headed(model, name) + _left_out(batch.y)
    return pictures.class_rows(torch.cat(rows), captions, title, width, "value of an attribute")


def attribute_walks(model: Any, batch: Batch, n: int = 4, names: Sequence[str] = ()) -> Tensor:
    """Draw the styles of images with one attribute at a time from low to high."""
    x, y = batch.x[:n], batch.y[:n]
    z, steps = model.encode(x, y), 9
    moved = list(_moved(y, batch.y, steps))
    blocks = []
    for k in range(0, len(moved), steps):
        called = _called(moved[k][0], names)
        images = [model.decode(model.transfer(z, y, to), to) for *_, to in moved[k : k + steps]]
        title = f"the style of the image on the left, {called} of the column"
        title += _left_out(batch.y)
        captions = [f"{value:.2g}" for _, value, _ in moved[k : k + steps]]
        sheet = torch.stack(images, 1).flatten(0, 1)
        blocks.append(pictures.transfer(x, sheet, captions, title))
    return pictures.stacked(blocks)


def needs_attributes(model: Any) -> None:
    """Refuse a model whose condition is a class or an image."""
    if model.classes or model.condition.planes:
        raise LabError(
            f"This {type(model).__name__}'s condition, {type(model.condition).__name__}, has no "
            "attributes that go from low to high."
        )


def _called(number: int, names: Sequence[str]) -> str:
    """Return the name of an attribute by its number, from 1."""
    return names[number - 1] if names else f"y{number}"


def _left_out(y: Tensor) -> str:
    """Return the end of a title if not all attributes (N, A) are drawn."""
    return f" (the first {MOST} of {y.shape[1]} attributes)" if y.shape[1] > MOST else ""


def _moved(y: Tensor, known: Tensor, steps: int) -> Iterator[tuple[int, float, Tensor]]:
    """Yield an attribute's number and value, and conditions (B, A) with it set.

    Values go in even steps from the 2nd to the 98th percentile of the known ones (N, A), those
    of a binary attribute from one value to the other, however rare either is.
    """
    known = known.float()
    low, high = known.quantile(torch.tensor([0.02, 0.98], device=known.device), 0)
    least, most = known.aminmax(dim=0)
    two = ((known == least) | (known == most)).all(0)
    low, high = torch.where(two, least, low), torch.where(two, most, high)
    shares = torch.linspace(0, 1, steps, device=known.device)
    for k in range(min(MOST, known.shape[1])):
        for value in torch.lerp(low[k], high[k], shares):
            moved = y.float().clone()
            moved[:, k] = value
            yield k + 1, float(value), moved
