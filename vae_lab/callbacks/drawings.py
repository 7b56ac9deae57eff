"""What can be drawn of a model, each drawing with the capabilities it asks for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from vae_lab import pictures
from vae_lab.contracts import Batch, Decodes, Encodes, Samples, require
from vae_lab.errors import LabError
from vae_lab.randomness import reseed

__all__ = ["DRAWINGS", "Drawing"]


@dataclass(frozen=True)
class Drawing:
    """A picture of a model and some images.

    Attributes:
        draw: From the model, a batch of images and options to a picture (3, H, W) in [0, 1].
        needs: Capabilities of `vae_lab.contracts` that it uses.
        latent_dim: The only code size it makes sense for, if there is one.
        images: How many images it takes at least.
    """

    draw: Callable[..., Tensor]
    needs: tuple[type, ...]
    latent_dim: int | None = None
    images: int = 1

    def check(self, model: Any, user: str) -> None:
        """Refuse a model that this cannot be drawn of.

        Raises:
            LabError: If the model lacks a capability or has a code of another size.
        """
        for capability in self.needs:
            require(model, capability, user)
        if self.latent_dim not in (None, model.latent_dim):
            raise LabError(
                f"{user} needs a {self.latent_dim}-dimensional code; "
                f"this {type(model).__name__} has {model.latent_dim} dimensions."
            )


def reconstructions(model: Any, batch: Batch, n: int = 20) -> Tensor:
    """Images over what is left of them after encoding and decoding."""
    return pictures.reconstructions(batch.x[:n], model.decode(model.encode(batch.x[:n])))


def samples(model: Any, batch: Batch, n: int = 64, seed: int = 0) -> Tensor:
    """New images, from the same noise every time."""
    reseed(seed)
    return pictures.samples(model.sample(n))


def manifold(model: Any, batch: Batch, side: int = 20) -> Tensor:
    """The whole plane of a two-dimensional code."""
    return pictures.manifold(_decoder(model), side)


def traversals(
    model: Any, batch: Batch, image: int = 0, span: float = 3.0, steps: int = 11, rows: int = 12
) -> Tensor:
    """Latent dimensions moved one at a time, the liveliest first where not all have room."""
    codes = model.encode(batch.x)
    if not 0 <= image < len(codes):
        raise LabError(f"there is no image {image}; the last one is {len(codes) - 1}.")
    dims = codes.var(0, correction=0).argsort(descending=True)[:rows].sort().values.tolist()
    return pictures.traversal(_decoder(model), codes[image : image + 1], span, steps, dims)


def interpolation(model: Any, batch: Batch, pairs: int = 8, steps: int = 11) -> Tensor:
    """Straight walks between the codes of two images."""
    start, end = model.encode(batch.x[: 2 * pairs]).chunk(2)
    return pictures.interpolation(_decoder(model), start, end[: len(start)], steps)


def scatter(model: Any, batch: Batch, projection: Literal["pca", "tsne"] = "pca") -> Tensor:
    """Codes in the plane, coloured by label."""
    labels = batch.y if batch.y.ndim == 1 else None
    return pictures.scatter(model.encode(batch.x), labels, method=projection)


def _decoder(model: Any) -> Callable[[Tensor], Tensor]:
    device = next(model.parameters()).device
    return lambda z: model.decode(z.to(device))


DRAWINGS = {
    "reconstructions": Drawing(reconstructions, (Encodes, Decodes)),
    "samples": Drawing(samples, (Samples,)),
    "manifold": Drawing(manifold, (Decodes,), latent_dim=2),
    "traversals": Drawing(traversals, (Encodes, Decodes)),
    "interpolation": Drawing(interpolation, (Encodes, Decodes), images=2),
    "scatter": Drawing(scatter, (Encodes,), images=3),
}
