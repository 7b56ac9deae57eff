"""The data about a model that the page of `lab explore` needs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vae_lab.contracts import (
    Clusters,
    Conditional,
    Decodes,
    DrawsCodes,
    Generates,
    Samples,
    group_size,
    require,
)
from vae_lab.drawings.conditional import called
from vae_lab.drawings.reach import is_normal, prior_codes, visible
from vae_lab.errors import LabError
from vae_lab.verbs.code_parts import noise_size, parts
from vae_lab.words import counted

if TYPE_CHECKING:
    from torch import Tensor

    from vae_lab.contracts import Batch

__all__ = ["Codes", "check", "codes_of", "is_plane", "view"]

SLIDERS = 24
"""Largest number of sliders on a page."""

DRAWS = 200
"""Samples per class to step through by a button."""


@dataclass(frozen=True)
class Codes:
    """Codes of images.

    Attributes:
        z: The codes, shape (N, D).
        labels: Their class indices, shape (N,), if they have classes.
        names: Names of the classes.
        split: Split of the images.
    """

    z: "Tensor"
    labels: "Tensor | None"
    names: tuple[str, ...]
    split: str = "val"


def check(model: Any) -> None:
    """Refuse a model that a page cannot control.

    Raises:
        LabError: If it cannot decode codes, or needs a condition that is not a class.
    """
    from vae_lab.drawings.conditional import needs_classes

    require(model, Decodes, "The explorer")
    if isinstance(model, Conditional):
        needs_classes(model)


def codes_of(model: Any, images: "Batch", names: tuple[str, ...], split: str = "val") -> Codes:
    """Return the codes of a split's images, with the given class names.

    Raises:
        LabError: If a code is not finite.
    """
    z = model.encode(images.x, images.y)
    if not z.isfinite().all():
        raise LabError("Codes that are not finite cannot be shown; the model has diverged.")
    return Codes(z, images.y if images.has_classes else None, names, split)


def view(model: Any, data: Any, codes: Codes | None) -> dict[str, Any]:
    """Return the page's data: sizes, classes, controls and initial codes."""
    classes = model.classes if isinstance(model, Conditional) else None
    samples = _samples(model, codes, classes)
    low, high = _limits(model, codes, samples)
    name, noise = f"{type(model).__name__} of {type(data).__name__}", noise_size(model)
    return {
        "title": f"{name}, {counted(model.latent_dim, 'dimension')}",
        "shape": list(model.shape),
        "size": model.latent_dim,
        "classes": called(classes, codes.names if codes else ()) if classes else None,
        "places": _places(model, classes) if classes else None,
        "hint": _hint(model, codes),
        "samples": [_rounded(pool) for pool in samples],
        "sampling": _sampling(model),
        "drawn": model.latent_dim if noise is None else noise,
        "plane": _plane(low, high, codes, not classes) if is_plane(model) else None,
        "controls": [] if is_plane(model) else _controls(model, low, high, codes),
    }


def is_plane(model: Any) -> bool:
    """Return whether codes have two dimensions."""
    return bool(model.latent_dim == 2 and not group_size(model) and not parts(model))


def _samples(model: Any, codes: Codes | None, classes: int | None) -> list["Tensor"]:
    """Return codes (DRAWS, D) to sample images from, for each class or for all."""
    import torch

    from vae_lab.randomness import reseed

    found = []
    for k in range(classes or 1):
        reseed(0)
        if isinstance(model, Generates | DrawsCodes):
            given = torch.full((DRAWS,), k) if classes else None
            found.append(prior_codes(model, DRAWS, given))
        elif group_size(model):
            found.append(torch.eye(model.latent_dim))
        else:
            found.append(torch.zeros(1, model.latent_dim) if codes is None else codes.z[:DRAWS])
    return found


def _places(model: Any, classes: int) -> dict[str, list[list[float]]]:
    """Return mean and scale of each class's prior, relative to those of the first class.

    `transfer` shifts and scales each dimension, so the images of 0 and 1 determine it.
    """
    import torch

    here, to = torch.zeros(classes, dtype=torch.long), torch.arange(classes)
    zero = torch.zeros(classes, model.latent_dim)
    mean, end = (model.transfer(z, here, to) for z in (zero, zero + 1))
    return {"mean": mean.tolist(), "scale": (end - mean).tolist()}


def _sampling(model: Any) -> str:
    """Return what a new sample changes: of an InfoGAN only the noise, else the whole code."""
    if parts(model):
        return "new noise"
    if isinstance(model, Generates | DrawsCodes):
        return "new sample"
    return "another cluster" if group_size(model) else "code of another image"


def _hint(model: Any, codes: Codes | None) -> str:
    """Return a text on how to choose a code, and on what else is shown."""
    if is_plane(model):
        given = " under this class, its own dark" if isinstance(model, Conditional) else ""
        dots = (
            f" The dots are codes of {len(codes.z)} {codes.split} images{given}." if codes else ""
        )
        how = "Move the pointer or a finger over the plane, or use the arrow keys."
        return f"{how} A click holds the point.{dots}"
    if group_size(model):
        return "Each list chooses one of the values that a part of the code can take."
    if named := parts(model):
        return f"The codes are {', '.join(named)}; z1, z2, ... are noise."
    order = "" if codes is None else ", those first that vary most among images"
    shown = min(SLIDERS, visible(model))
    which = "All dimensions" if shown == model.latent_dim else counted(shown, "dimension")
    return f"{which} of the code, a slider each{order}."


def _limits(model: Any, codes: Codes | None, samples: list["Tensor"]) -> tuple["Tensor", "Tensor"]:
    """Return the range of each dimension: three sigma of a normal, or the range of the codes.

    A plane shows codes of images and samples, apart from a few outliers.
    """
    import torch

    three = torch.full((model.latent_dim,), 3.0)
    drawn = isinstance(model, Samples)
    pools = ([] if codes is None else [codes.z]) + (samples if drawn else [])
    if not pools or (drawn and is_normal(model) and not is_plane(model)):
        return -three, three
    ends = torch.stack([pool.float().quantile(torch.tensor([0.01, 0.99]), 0) for pool in pools])
    low, high = ends[:, 0].amin(0), ends[:, 1].amax(0)
    margin = 0.1 * (high - low)
    return low - margin, high + margin


def _plane(low: "Tensor", high: "Tensor", codes: Codes | None, named: bool) -> dict[str, Any]:
    """Describe a square of the plane, with equal axes, and the codes in it.

    Class names come with the positions of their labels.
    """
    from vae_lab.pictures.names import MOST, medians, shortened
    from vae_lab.pictures.plane import palette

    half, middle = (high - low).max() / 2, (high + low) / 2
    ends = (middle - half).tolist(), (middle + half).tolist()
    plane = {"low": ends[0], "high": ends[1], "ticks": [*map(_ticks, *ends)]}
    if codes is None:
        return {**plane, "points": [], "labels": None, "colours": list(palette(1)), "names": []}
    labels = None if codes.labels is None else codes.labels.long()
    count = 1 if labels is None else max(len(codes.names), int(labels.max()) + 1)
    places = {} if labels is None else medians(codes.z, labels)
    names = called(count, codes.names)
    few = named and 1 < len(places) <= MOST
    return {
        **plane,
        "points": _rounded(codes.z),
        "labels": None if labels is None else labels.tolist(),
        "colours": list(palette(count))[:count],
        "names": [[shortened(names[k]), *z] for k, z in places.items()] if few else [],
    }


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers for the ticks of an axis."""
    from matplotlib.ticker import MaxNLocator

    first, second, *rest = map(float, MaxNLocator(6).tick_values(low, high))
    step = second - first
    return [float(f"{round(t / step) * step:.6g}") for t in (first, second, *rest)]


def _controls(
    model: Any, low: "Tensor", high: "Tensor", codes: Codes | None
) -> list[dict[str, Any]]:
    """Describe one choice per one-hot group, or sliders of the most varied dimensions."""
    if size := group_size(model):
        name = "cluster" if isinstance(model, Clusters) else "group {}"
        starts = range(0, model.latent_dim, size)
        return [_choice(name.format(i), at, size) for i, at in enumerate(starts, 1)]
    named = [_named(model, name, place) for name, place in parts(model).items()]
    noise = noise_size(model)
    order = list(range(visible(model) if noise is None else noise))
    if codes is not None:
        order = codes.z[:, order].var(0, correction=0).argsort(descending=True).tolist()
    bounds = [(low[d].item(), high[d].item()) for d in range(model.latent_dim)]
    sliders = [_slider(f"z{d + 1}", d, *bounds[d]) for d in order]
    return [*named, *sliders[: max(0, SLIDERS - len(named))]]


def _named(model: Any, name: str, place: slice) -> dict[str, Any]:
    """Describe the control of one of an InfoGAN's codes."""
    code = model.codes[name]
    if code.categorical:
        return _choice(name, place.start, code.size)
    low, high = code.sweep(2).flatten().tolist()
    return _slider(name, place.start, low, high)


def _choice(name: str, at: int, size: int) -> dict[str, Any]:
    return {"kind": "choice", "name": name, "at": at, "size": size}


def _slider(name: str, at: int, low: float, high: float) -> dict[str, Any]:
    return {"kind": "slider", "name": name, "at": at, "low": low, "high": high}


def _rounded(codes: "Tensor") -> list[list[float]]:
    """Return codes rounded to three decimals."""
    return [[round(v, 3) for v in code] for code in codes.tolist()]
