"""What can be drawn of a model, each drawing with the capabilities it asks for."""

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
        draw: From the model, a batch of images and options to a picture (3, H, W) in [0, 1].
        needs: Capabilities of `vae_lab.contracts` that it uses.
        latent_dim: The only code size it makes sense for, if there is one.
        images: How many images it takes at least; 0 where it can do without.
        prior: Whether it can do without images also where the model has a prior in their place.
        conditional: Whether it hands a model the conditions that it may need.
        costly: Whether it takes so long that it is drawn only where it is asked for by name.
        look: Checks whatever else it needs of a model, and raises a LabError if that is missing.
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
        """Whether it writes what classes or attributes are called, if it is told so."""
        return "names" in signature(self.draw).parameters

    def __call__(
        self, model: Any, batch: Batch, names: Sequence[str] = (), **options: Any
    ) -> Tensor:
        """Draw, and write there what the labels' classes, or attributes, are called."""
        told = {"names": names} if self.named else {}
        return self.draw(model, batch, **told, **options)

    def looks(self, model: Any) -> bool:
        """Say whether it is drawn from images."""
        return self.images > 0 and not (self.prior and isinstance(model, Samples))

    def about(self, model: Any, split: str, **options: Any) -> list[str]:
        """Say which images the picture is of, and what chose among them or the draws."""
        looks = self.looks(model)
        known = {k: p.default for k, p in signature(self.draw).parameters.items()} | options
        calls = {"image": "image" if looks else "draw", "seed": "seed"}
        chosen = [f"{called} {known[key]}" for key, called in calls.items() if key in known]
        return [f"{split} images", *chosen] if looks else chosen

    def check(self, model: Any, user: str) -> None:
        """Refuse a model that this cannot be drawn of.

        Raises:
            LabError: If the model lacks a capability or a part, or has a code of another size.
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
    """Images over what is left of them after encoding and decoding."""
    x, y = batch.x[:n], batch.y[:n]
    return pictures.reconstructions(x, model.decode(model.encode(x, y), y))


def restorations(model: Any, batch: Batch, n: int = 20, seed: int = 0) -> Tensor:
    """Images, what a corruption leaves of them, and what is restored; the same every time."""
    reseed(seed)
    x = batch.x[:n]
    corrupted = model.corrupt(x)
    restored = model.decode(model.encode(corrupted))
    title = f"images, damaged by {model.corruption}, and restored"
    return pictures.restorations(x, corrupted, restored, title)


def filters(model: Any, batch: Batch, name: str = "filters") -> Tensor:
    """What the encoder's first layer looks for, under the corruption that it was trained with."""
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
    """New images, of one class or of any, from the same noise every time."""
    y, title = None, headed(model, name)
    if label is not None:
        y, given = given_class(model, label, n, names)
        title += f" of {given}"
    reseed(seed)
    return pictures.samples(model.sample(n, y), title, width)


def manifold(model: Any, batch: Batch, side: int = 20) -> Tensor:
    """The whole plane of a two-dimensional code, as far as its prior goes, or else its codes."""
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
    """Latent dimensions moved one at a time, the liveliest first where not all have room."""
    codes = model.encode(batch.x, batch.y)
    if not 0 <= image < len(codes):
        raise LabError(f"there is no image {image}; the last one is {len(codes) - 1}.")
    spread = codes[:, : visible(model)].var(0, correction=0)
    dims = spread.argsort(descending=True)[:rows].sort().values.tolist()
    this = slice(image, image + 1)
    draw = partial(pictures.traversal, _decoder(model, batch.y[this]), codes[this], steps=steps)
    if span is None and not (isinstance(model, Samples) and is_normal(model)):
        # Without a prior, or with a learned one, the codes themselves tell how far they go.
        ends = torch.tensor([0.01, 0.99], device=codes.device)
        return draw(dims=dims, limits=codes.float().quantile(ends, 0))
    return draw(dims=dims, span=3.0 if span is None else span)


def interpolation(model: Any, batch: Batch, pairs: int = 8, steps: int = 11) -> Tensor:
    """Straight walks between the codes of two images, under the condition of the first."""
    pairs = min(pairs, len(batch.x) // 2)
    x, y = batch.x[: 2 * pairs], batch.y[: 2 * pairs]
    start, end = model.encode(x, y).chunk(2)
    here, there = y.chunk(2)
    if isinstance(model, Conditional):
        end = model.transfer(end, there, here)
    return pictures.interpolation(_decoder(model, here), start, end, steps)


def _bottom(model: Any) -> Any:
    """Return the layer of a stack that sees the images; another model is its own."""
    return getattr(model, "first", model)


def _first_layer(model: Any) -> Tensor:
    bottom = _bottom(model)
    # Of two, the one that encodes.
    encoder = getattr(bottom, "averaged_encoder", None) or getattr(bottom, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise LabError(f"{type(model).__name__} has no encoder network, and so no filters to draw.")
    return pictures.first_layer(encoder, bottom.shape)


def _needs_real_codes(kind: str) -> Callable[[Any], None]:
    """Return a check that refuses discrete codes: nothing lies between two of them."""
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
    """Return a function that decodes codes, each condition shared by equally many in a row."""
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
