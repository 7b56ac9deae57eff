"""Drawings of models that sample codes, and of those that predict some from an image."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vae_lab import pictures
from vae_lab.contracts import Batch, Encodes, ReadsCodes
from vae_lab.drawings.conditional import called
from vae_lab.errors import LabError
from vae_lab.metrics.clusters import match
from vae_lab.metrics.inversion import Search, check_invertible, invert
from vae_lab.randomness import reseed

__all__ = ["inverted_walks", "needs_no_encoder", "sweeps", "walks"]

ROWS = 10


def sweeps(
    model: Any,
    batch: Batch,
    image: int = 0,
    span: float | None = None,
    steps: int = 11,
    rows: int = 12,
    names: Sequence[str] = (),
) -> Tensor:
    """Draw the effect of each code of an InfoGAN, or of dimensions of another model's input.

    The first panel moves up to `rows` dimensions of one draw, the next two panels the first two
    dimensions of several draws. `span` and `rows` do not apply to an InfoGAN.
    """
    reseed(image)
    if isinstance(model, ReadsCodes):
        return pictures.stacked(_panels(model, batch, steps, names))
    z, span = model.draw_codes(1), 2.0 if span is None else span
    dims = range(min(rows, model.latent_dim))
    panels = [pictures.traversal(model.decode, z, span, steps, dims)]
    draws, values = model.draw_codes(ROWS), torch.linspace(-span, span, steps)
    for k in dims[:2]:
        title = f"z{k + 1} from left to right, of {ROWS} draws"
        seen = (span, 1.0)  # no lines, as they would be at the ends
        panels.append(_swept(model, draws, slice(k, k + 1), values, seen, _draws(), title))
    return pictures.stacked(panels)


def walks(model: Any, batch: Batch, pairs: int = 8, steps: int = 11, seed: int = 0) -> Tensor:
    """Draw linear interpolations between pairs of sampled codes."""
    reseed(seed)
    start, end = model.draw_codes(2 * pairs).chunk(2)
    return pictures.interpolation(model.decode, start, end, steps)


def inverted_walks(
    model: Any, batch: Batch, pairs: int = 8, steps: int = 11, seed: int = 0
) -> Tensor:
    """Draw linear interpolations between codes found for images by gradients."""
    pairs = min(pairs, len(batch.x) // 2)
    images = Batch(batch.x[: 2 * pairs], batch.y[: 2 * pairs])
    start, end = invert(model, images, Search(), seed).to(model.device).chunk(2)
    return pictures.interpolation(model.decode, start, end, steps)


def needs_no_encoder(model: Any) -> None:
    """Refuse a model that has an encoder, or whose codes cannot be searched."""
    if isinstance(model, Encodes):
        raise LabError(f"{type(model).__name__} encodes: `interpolation` needs no search.")
    check_invertible(model, "The picture 'inverted_walks'")


def _panels(model: Any, batch: Batch, steps: int, classes: Sequence[str]) -> list[Tensor]:
    """Draw a panel for each code; continuous ones have the rows of `_rows`."""
    names, base = _rows(model, batch, classes)
    panels = []
    for name, code in model.codes.items():
        values = code.sweep(steps)
        if not code.categorical:
            title = f"{name} from left to right"
            place = model.places[name]
            numbers, seen = values[:, 0], (code.extent, code.share)
            panels.append(_swept(model, base, place, numbers, seen, names, title))
        else:
            panels.append(_category(model, batch, name, classes))
    return panels


def _swept(
    model: Any,
    base: Tensor,
    place: slice,
    values: Tensor,
    seen: tuple[float, float],
    rows: list[str],
    title: str,
) -> Tensor:
    """Draw a row for each input (B, latent_dim), with one dimension set to values (V,)."""
    z = base.repeat_interleave(len(values), 0)
    z[:, place] = values.to(base).repeat(len(base)).unsqueeze(1)
    return pictures.code_sweep(model.decode(z), values.tolist(), *seen, rows, title)


def _category(model: Any, batch: Batch, name: str, classes: Sequence[str]) -> Tensor:
    """Draw a row per value of a categorical code, a column per noise."""
    noise = model.draw_codes(ROWS)
    order, names, fit = _order(model, batch, name, classes)
    values = len(order)
    z = noise.repeat(values, 1)
    eye = torch.eye(values, device=z.device)[order]
    z[:, model.places[name]] = eye.repeat_interleave(len(noise), 0)
    return pictures.class_rows(model.decode(z), names, f"{name}{fit}", of="value")


def _rows(model: Any, batch: Batch, classes: Sequence[str]) -> tuple[list[str], Tensor]:
    """Return names and inputs of equal noise, one per value of the first categorical code."""
    if (name := model.category) is None:
        return _draws(), model.draw_codes(ROWS)
    order, names, _ = _order(model, batch, name, classes)
    z = model.draw_codes(1).repeat(len(order), 1)
    z[:, model.places[name]] = torch.eye(len(order), device=z.device)[order]
    return names, z


def _draws() -> list[str]:
    return [f"draw {i + 1}" for i in range(ROWS)]


def _order(
    model: Any, batch: Batch, name: str, classes: Sequence[str]
) -> tuple[list[int], list[str], str]:
    """Order a code's values by the classes that the Hungarian method assigns, if there are any.

    A class may be assigned by chance, so the title gets the accuracy.
    """
    values = model.codes[name].size
    if not (batch.has_classes and len(batch.y)):
        return list(range(values)), [f"{k}" for k in range(values)], ""
    with torch.inference_mode():
        found = model.read(batch.x.to(model.device))[name].argmax(1).cpu()
    matched = match(found, batch.y.cpu())
    share = (matched[found] == batch.y.cpu()).float().mean()
    # Only validation images are passed to this function.
    fit = f" (rows' classes fit {share:.0%} of {len(found)} validation images)"
    matched = torch.cat([matched, matched.new_full((values - len(matched),), -1)])
    names = called(int(matched.max()) + 1, classes)
    order = sorted(range(values), key=lambda k: (matched[k] < 0, matched[k].item(), k))
    return order, ["none" if matched[k] < 0 else f"class {names[matched[k]]}" for k in order], fit
