"""A measured number with its protocol; and batched evaluation of models."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vae_lab.contracts import Batch, Encodes
from vae_lab.errors import LabError

__all__ = [
    "Measure",
    "batches",
    "device_of",
    "encode",
    "finite",
    "full_batches",
    "in_batches",
    "seeded",
]


class Measure(NamedTuple):
    """A measured number, and what must be known to compare it.

    Attributes:
        value: The number.
        unit: Its unit.
        note: How it was computed, beyond the protocol of the whole evaluation.
        standard_error: Standard error of the mean, if the number is a mean over images.
        parts: Summands of the number, such as one per dimension of a code, if known.
        images: The number of images that a share is of, if known.
    """

    value: float
    unit: str
    note: str
    standard_error: float | None = None
    parts: tuple[float, ...] = ()
    images: int | None = None

    @classmethod
    def mean(cls, values: Tensor, unit: str, note: str) -> "Measure":
        """Return the mean of one value per image, shape (N,)."""
        error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else None
        return cls(values.mean().item(), unit, note, error)

    @classmethod
    def share(cls, value: float, images: int, note: str) -> "Measure":
        """Return a proportion of `images`, with its binomial standard error.

        For one image, or a share of 0 or 1, the error is None: zero would claim certainty.
        """
        known = images > 1 and 0 < value < 1
        error = math.sqrt(value * (1 - value) / images) if known else None
        return cls(value, "share", note, error, images=images)

    def entry(self) -> dict[str, Any]:
        """Return its entry of `metrics.json`, with parts if there are any."""
        found = self._asdict()
        del found["images"]  # the note says it
        parts = found.pop("parts")
        return found | ({"parts": [round(part, 4) for part in parts]} if parts else {})


def finite(found: dict[str, Measure]) -> dict[str, Measure]:
    """Return the measures, if all of them are finite numbers.

    Raises:
        LabError: If one is not.
    """
    if wrong := [key for key in found if not math.isfinite(found[key].value)]:
        raise LabError(f"{', '.join(wrong)} came out as no finite number; the model has diverged.")
    return found


def encode(model: Encodes, images: Batch) -> Tensor:
    """Return the codes of all images, shape (N, D), on the CPU."""
    return in_batches(model, images, lambda x, y: model.encode(x, y).flatten(1))


def in_batches(model: Any, images: Batch, compute: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Compute a tensor from each batch of images and labels, and concatenate them on the CPU."""
    with torch.inference_mode():
        return torch.cat([compute(x, y).cpu() for x, y in batches(model, images)])


def batches(model: Any, images: Batch, size: int = 500) -> Iterator[Batch]:
    """Iterate over images, `size` at a time, on the model's device."""
    device = device_of(model)
    for x, y in zip(torch.split(images.x, size), torch.split(images.y, size), strict=True):
        yield Batch(x.to(device), y.to(device))


def full_batches(model: Any, images: Batch, copies: int) -> Iterator[Batch]:
    """Iterate over batches of which `copies` fit a CPU's cache, or occupy a GPU."""
    rows = 800 if device_of(model).type == "cpu" else 8192
    return batches(model, images, max(1, rows // copies))


def device_of(model: Any) -> torch.device:
    """Return the device of a model."""
    return torch.device(getattr(model, "device", "cpu"))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the random numbers within the context; the caller's random stream is untouched."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
