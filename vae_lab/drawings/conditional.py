"""Drawings of a condition's effect."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vae_lab import pictures
from vae_lab.contracts import Batch, Conditional, require
from vae_lab.errors import LabError
from vae_lab.pictures import WIDTH
from vae_lab.randomness import reseed

__all__ = [
    "called",
    "class_rows",
    "completions",
    "given_class",
    "headed",
    "needs_classes",
    "needs_no_classes",
    "transfer",
]


def class_rows(
    model: Any,
    batch: Batch,
    n: int = 10,
    seed: int = 0,
    name: str | None = None,
    width: int = WIDTH,
    names: Sequence[str] = (),
) -> Tensor:
    """Draw samples, a row per class, a column per noise."""
    rows = []
    for k in range(model.classes):
        reseed(seed)
        rows.append(model.sample(n, given_class(model, str(k), n)[0]))
    classes = called(model.classes, names)
    return pictures.class_rows(torch.cat(rows), classes, headed(model, name), width)


def transfer(model: Any, batch: Batch, n: int = 8, names: Sequence[str] = ()) -> Tensor:
    """Draw the styles of images under every class."""
    x, y = batch.x[:n], batch.y[:n]
    n, classes = len(x), model.classes
    z, y = (part.repeat_interleave(classes, 0) for part in (model.encode(x, y), y))
    to = torch.arange(classes, device=z.device).repeat(n)
    images = model.decode(model.transfer(z, y, to), to)
    return pictures.transfer(x, images, called(classes, names))


def completions(model: Any, batch: Batch, n: int = 10, draws: int = 5, seed: int = 0) -> Tensor:
    """Draw images, their conditions, and samples given these, with the noise of `seed`."""
    reseed(seed)
    x, y = batch.x[:n], batch.y[:n]
    drawn = torch.stack([model.sample(len(x), y) for _ in range(draws)])
    return pictures.completions(model.condition.shown(y), x, drawn)


def headed(model: Any, name: str | None) -> str:
    """Return the start of the title of samples; one of several runs has a name."""
    size = getattr(model, "latent_dim", None)
    return ("samples" if name is None else name) + (f", {size}-D code" if name and size else "")


def called(classes: int, names: Sequence[str]) -> list[str]:
    """Return the names of classes, or their numbers if any class lacks a name."""
    return [*names[:classes]] if len(names) >= classes else [str(k) for k in range(classes)]


def given_class(model: Any, y: str, n: int, names: Sequence[str] = ()) -> tuple[Tensor, str]:
    """Return a class as the condition of `n` images, shape (n,), and its description.

    Names come before numbers, as in pictures: of 01, 02 and 03, class 02 is the second.

    Raises:
        LabError: If the condition is not a class, or there is no such class.
    """
    require(model, Conditional, f"Class {y}")
    needs_classes(model)
    known, numbers = called(model.classes, names), called(model.classes, ())
    if y not in {*known, *numbers}:
        kind, last = type(model).__name__, model.classes - 1
        listed = "" if known == numbers else f", which are {', '.join(known)}"
        raise LabError(f"There is no class {y}: this {kind} knows 0 to {last}{listed}.")
    k = (known if y in known else numbers).index(y)
    return torch.full((n,), k, device=model.device), f"class {known[k]}"


def needs_classes(model: Any) -> None:
    """Refuse a model whose condition is not a class."""
    if not model.classes:
        images = "comes with images: `lab complete` draws what it leaves open"
        attributes = "goes from low to high: `lab sample --y all` draws that"
        raise LabError(
            f"This {type(model).__name__}'s condition, {type(model.condition).__name__}, is no "
            f"class, but {images if model.condition.planes else attributes}."
        )


def needs_no_classes(model: Any) -> None:
    """Refuse a model whose condition is a class."""
    if model.classes:
        raise LabError(
            f"This {type(model).__name__}'s condition is a class, which needs no image: "
            "`lab sample --y all` draws every one."
        )
