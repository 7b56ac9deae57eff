"""The drawings by name, with the capabilities that each one needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from vae_lab import pictures
from vae_lab.contracts import (
    Batch,
    Clusters,
    Conditional,
    Converges,
    Corrupts,
    Decodes,
    DrawsCodes,
    Encodes,
    Generates,
    Samples,
    require,
)
from vae_lab.drawings.attributes import attribute_rows, attribute_walks, needs_attributes
from vae_lab.drawings.clusters import clusters, likelihood_curve
from vae_lab.drawings.codes import inverted_walks, needs_no_encoder, sweeps, walks
from vae_lab.drawings.conditional import (
    class_rows,
    completions,
    given_class,
    headed,
    needs_classes,
    needs_no_classes,
    transfer,
)
from vae_lab.drawings.planes import beside_pca, beside_prior, needs_posterior, scatter
from vae_lab.drawings.reach import is_normal, prior_codes, visible
from vae_lab.errors import LabError
from vae_lab.metrics.inversion import check_invertible
from vae_lab.pictures import WIDTH
from vae_lab.randomness import reseed
from vae_lab.words import counted

__all__ = ["DRAWINGS", "Drawing"]


@dataclass(frozen=True)
class Drawing:
    """A picture of a model and some images.

    Attributes:
        draw: Maps a model, a batch and options to a picture, shape (3, H, W), in [0, 1].
        needs: Required capabilities of `vae_lab.contracts`.
        latent_dim: The only code size that it supports; None for any.
        images: Minimum number of images; 0 if it needs none.
        prior: Whether it needs no images of a model that samples from a prior.
        conditional: Whether it supports models with a condition.
        costly: Whether it is slow, and drawn only if requested by name.
        look: A further check of a model, which raises a LabError.
    """

    draw: Callable[..., Tensor]
    needs: tuple[type, ...]
    latent_dim: int | None = None
    images: int = 1
    prior: bool = False
    conditional: bool = False
    costly: bool = False
    look: Callable[[Any], object] = lambda model: None

    @property
    def named(self) -> bool:
        """Whether it can show the names of classes or attributes."""
        return "names" in signature(self.draw).parameters

    def __call__(
        self, model: Any, batch: Batch, names: Sequence[str] = (), **options: Any
    ) -> Tensor:
        """Return the picture, with the names of classes or attributes if it shows any."""
        told = {"names": names} if self.named else {}
        return self.draw(model, batch, **told, **options)

    def looks(self, model: Any) -> bool:
        """Return whether it is drawn from images."""
        return self.images > 0 and not (self.prior and isinstance(model, Samples))

    def about(self, model: Any, split: str, **options: Any) -> list[str]:
        """Return the split of the images, and the chosen image, draw or seed."""
        looks = self.looks(model)
        known = {k: p.default for k, p in signature(self.draw).parameters.items()} | options
        calls = {"image": "image" if looks else "draw", "seed": "seed"}
        chosen = [f"{called} {known[key]}" for key, called in calls.items() if key in known]
        return [f"{split} images", *chosen] if looks else chosen

    def check(self, model: Any, user: str) -> None:
        """Refuse a model that cannot be drawn.

        Raises:
            LabError: If it lacks a capability or a part, or has the wrong code size or condition.
        """
        for capability in self.needs:
            require(model, capability, user)
        if self.latent_dim is not None and model.latent_dim != self.latent_dim:
            raise LabError(
                f"{user} needs a {self.latent_dim}-dimensional code; "
                f"this {type(model).__name__} has {counted(model.latent_dim, 'dimension')}."
            )
        if isinstance(model, Conditional) and not self.conditional:
            raise LabError(
                f"{user} is of models without a condition; {type(model).__name__} has one."
            )
        self.look(model)


def reconstructions(model: Any, batch: Batch, n: int = 20) -> Tensor:
    """Draw images above their reconstructions."""
    x, y = batch.x[:n], batch.y[:n]
    return pictures.reconstructions(x, model.decode(model.encode(x, y), y))


def restorations(model: Any, batch: Batch, n: int = 20, seed: int = 0) -> Tensor:
    """Draw images, corrupted by the noise of `seed`, and restored."""
    reseed(seed)
    x = batch.x[:n]
    corrupted = model.corrupt(x)
    restored = model.decode(model.encode(corrupted))
    title = f"images, damaged by {model.corruption}, and restored"
    return pictures.restorations(x, corrupted, restored, title)


def filters(model: Any, batch: Batch, name: str = "filters") -> Tensor:
    """Draw the filters of the encoder's first layer, titled with the training's corruption."""
    corruption = getattr(_bottom(model), "corruption", None)
    title = name if corruption is None else f"{name}, {corruption}"
    return pictures.filters(_first_layer(model), title)


def samples(
    model: Any,
    batch: Batch,
    n: int = 64,
    seed: int = 0,
    label: str | None = None,
    name: str | None = None,
    width: int = WIDTH,
    names: Sequence[str] = (),
) -> Tensor:
    """Draw samples, of one class or of any, with the noise of `seed`."""
    y, title = None, headed(model, name)
    if label is not None:
        y, given = given_class(model, label, n, names)
        title += f" of {given}"
    reseed(seed)
    return pictures.samples(model.sample(n, y), title, width)


def manifold(model: Any, batch: Batch, side: int = 20) -> Tensor:
    """Draw images over the plane of a two-dimensional code, within its prior or its codes."""
    codes, of = None, "the prior"
    if not isinstance(model, Samples):
        codes, of = model.encode(batch.x, batch.y), "the codes"
    elif not is_normal(model):
        reseed(0)
        codes = prior_codes(model, 2000)
    return pictures.manifold(_decoder(model), side, codes=codes, of=of)


def traversals(
    model: Any,
    batch: Batch,
    image: int = 0,
    span: float | None = None,
    steps: int = 11,
    rows: int = 12,
) -> Tensor:
    """Draw an image with one latent dimension moved at a time, those that vary most."""
    codes = model.encode(batch.x, batch.y)
    if not 0 <= image < len(codes):
        raise LabError(f"there is no image {image}; the last one is {len(codes) - 1}.")
    spread = codes[:, : visible(model)].var(0, correction=0)
    dims = spread.argsort(descending=True)[:rows].sort().values.tolist()
    this = slice(image, image + 1)
    draw = partial(pictures.traversal, _decoder(model, batch.y[this]), codes[this], steps=steps)
    if span is None and not (isinstance(model, Samples) and is_normal(model)):
        # Without a prior, or with a learned one, the limits are quantiles of the codes.
        ends = torch.tensor([0.01, 0.99], device=codes.device)
        return draw(dims=dims, limits=codes.float().quantile(ends, 0))
    return draw(dims=dims, span=3.0 if span is None else span)


def interpolation(model: Any, batch: Batch, pairs: int = 8, steps: int = 11) -> Tensor:
    """Draw linear interpolations between the codes of two images, with the first's condition."""
    pairs = min(pairs, len(batch.x) // 2)
    x, y = batch.x[: 2 * pairs], batch.y[: 2 * pairs]
    start, end = model.encode(x, y).chunk(2)
    here, there = y.chunk(2)
    if isinstance(model, Conditional):
        end = model.transfer(end, there, here)
    return pictures.interpolation(_decoder(model, here), start, end, steps)


def _bottom(model: Any) -> Any:
    """Return the first layer of a stack, or else the model itself."""
    return getattr(model, "first", model)


def _first_layer(model: Any) -> Tensor:
    bottom = _bottom(model)
    # If there are two, the averaged one encodes.
    encoder = getattr(bottom, "averaged_encoder", None) or getattr(bottom, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise LabError(f"{type(model).__name__} has no encoder network, and so no filters to draw.")
    return pictures.first_layer(encoder, bottom.shape)


def _needs_real_codes(kind: str) -> Callable[[Any], None]:
    """Return a check that refuses discrete codes, which have none in between."""
    return partial(check_invertible, user=f"The picture {kind!r}")


def _needs_corruption(model: Any) -> None:
    if getattr(model, "corruption", None) is None:
        raise LabError(
            f"This {type(model).__name__} learned from whole images and has nothing to restore; "
            "train one with a --model.corruption."
        )


def _needs_classes_if_any(model: Any) -> None:
    if isinstance(model, Conditional):
        needs_classes(model)


def _decoder(model: Any, y: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """Return a function that decodes codes; each condition applies to equally many in a row."""
    device = next(model.parameters()).device

    def decode(z: Tensor) -> Tensor:
        repeated = None if y is None else y.repeat_interleave(len(z) // len(y), 0)
        images: Tensor = model.decode(z.to(device), repeated)
        return images

    return decode


DRAWINGS = {
    "reconstructions": Drawing(reconstructions, (Encodes, Decodes), conditional=True),
    "restorations": Drawing(restorations, (Encodes, Decodes, Corrupts), look=_needs_corruption),
    "filters": Drawing(filters, (), images=0, look=_first_layer),
    "samples": Drawing(samples, (Samples,), images=0, conditional=True, look=_needs_classes_if_any),
    "class_rows": Drawing(
        class_rows,
        (Samples, Conditional),
        images=0,
        conditional=True,
        look=needs_classes,
    ),
    "transfer": Drawing(
        transfer, (Encodes, Decodes, Conditional), conditional=True, look=needs_classes
    ),
    "attribute_rows": Drawing(
        attribute_rows,
        (Samples, Conditional),
        images=2,
        conditional=True,
        look=needs_attributes,
    ),
    "attribute_walks": Drawing(
        attribute_walks,
        (Encodes, Decodes, Conditional),
        images=2,
        conditional=True,
        look=needs_attributes,
    ),
    "completions": Drawing(
        completions, (Samples, Conditional), conditional=True, look=needs_no_classes
    ),
    "manifold": Drawing(
        manifold, (Decodes,), latent_dim=2, prior=True, look=_needs_real_codes("manifold")
    ),
    "traversals": Drawing(
        traversals, (Encodes, Decodes), conditional=True, look=_needs_real_codes("traversals")
    ),
    "sweeps": Drawing(sweeps, (DrawsCodes, Decodes), images=0),
    "walks": Drawing(walks, (DrawsCodes, Decodes), images=0),
    "inverted_walks": Drawing(
        inverted_walks, (Decodes,), images=2, costly=True, look=needs_no_encoder
    ),
    "interpolation": Drawing(
        interpolation,
        (Encodes, Decodes),
        images=2,
        conditional=True,
        look=_needs_real_codes("interpolation"),
    ),
    "scatter": Drawing(scatter, (Encodes,), images=3, conditional=True),
    "clusters": Drawing(clusters, (Clusters, Encodes, Decodes)),
    "likelihood_curve": Drawing(likelihood_curve, (Converges,), images=0),
    "beside_prior": Drawing(
        beside_prior,
        (Encodes, Generates),
        images=3,
        conditional=True,
        look=needs_posterior,
    ),
    "beside_pca": Drawing(beside_pca, (Encodes,), latent_dim=2, images=3, conditional=True),
}
