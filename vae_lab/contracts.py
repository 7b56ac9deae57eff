"""What passes between the rooms of the house: a batch, and what a model is able to do."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from vae_lab.errors import LabError

__all__ = [
    "Batch",
    "Bounds",
    "Classifies",
    "Clusters",
    "Conditional",
    "Converges",
    "Corrupts",
    "Decodes",
    "Density",
    "Diverges",
    "DrawsCodes",
    "Encodes",
    "Generates",
    "Images",
    "Perceives",
    "ReadsCodes",
    "Samples",
    "Shape",
    "group_size",
    "require",
]

Shape = tuple[int, int, int]
"""Channels, height and width of an image."""


class Batch(NamedTuple):
    """One step's images and what is known of them.

    Attributes:
        x: Images in [0, 1], shape (B, C, H, W).
        y: The condition, or the labels of probes and plots: class indices (B,), attributes
            (B, A) or images (B, C', H', W').
    """

    x: Tensor
    y: Tensor

    @classmethod
    def unlabelled(cls, x: Tensor) -> "Batch":
        """Return images of which nothing is known."""
        return cls(x, torch.zeros(len(x)))

    @property
    def has_classes(self) -> bool:
        """Whether the labels are class indices, and neither attributes nor images."""
        return self.y.ndim == 1 and not self.y.is_floating_point()

    @property
    def has_several_classes(self) -> bool:
        """Whether there is more than one class; images without labels are all of the first."""
        return self.has_classes and len(torch.unique(self.y)) > 1


@runtime_checkable
class Encodes(Protocol):
    """Turns images into codes."""

    latent_dim: int

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return one code an image (the posterior's mean), shape (B, latent_dim)."""


@runtime_checkable
class Perceives(Protocol):
    """Learns to restore images as features of its own see them, not pixel by pixel."""

    def perceive(self, x: Tensor) -> Tensor:
        """Return the features of images (B, C, H, W), shape (B, ...)."""


@runtime_checkable
class Decodes(Protocol):
    """Turns codes into images."""

    latent_dim: int

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the mean image of each code, shape (B, C, H, W), in [0, 1].

        Those of a linear decoder may lie outside: clipped, it would no longer be linear.
        """


@runtime_checkable
class Samples(Protocol):
    """Draws new images."""

    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw `n` images, shape (n, C, H, W), in [0, 1], from the global random stream."""


@runtime_checkable
class DrawsCodes(Protocol):
    """Decodes codes that come from no image."""

    latent_dim: int

    def draw_codes(self, n: int) -> Tensor:
        """Draw codes, shape (n, latent_dim), from the global random stream."""


@runtime_checkable
class ReadsCodes(Protocol):
    """Reads off an image some of the codes that such an image is made of."""

    codes: dict[str, Any]
    """What is known of each, by name: one of `vae_lab.codes`."""

    places: dict[str, slice]
    """Where each lies in what `draw_codes` draws."""

    @property
    def category(self) -> str | None:
        """The name of the first code that is a choice, if any is."""

    def read(self, x: Tensor) -> dict[str, Tensor]:
        """Return what is said of each code of images (B, C, H, W): logits, or a mean (B, 1)."""


@runtime_checkable
class Corrupts(Protocol):
    """Learns to undo damage, unless it has no `corruption`, or None."""

    def corrupt(self, x: Tensor) -> Tensor:
        """Return damaged images, shape (B, C, H, W), by the global random stream."""


@runtime_checkable
class Bounds(Protocol):
    """Bounds the log-likelihood of an image from below."""

    def log_weights(self, x: Tensor, samples: int, y: Tensor | None = None) -> Tensor:
        r"""Draw importance weights log p(x, z) - log q(z|x), in nats, shape (samples, B).

        Their mean estimates the ELBO, their logsumexp minus log(samples) the importance-weighted
        bound of Burda et al. (2016).
        """


@runtime_checkable
class Diverges(Protocol):
    """Knows how far each part of its posterior is from the prior."""

    def divergences(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the divergences for images (B, C, H, W) in nats, shape (B, parts of the code)."""


@runtime_checkable
class Generates(Protocol):
    """Knows the two densities that make an image: that of codes and that of an image given one."""

    def prior_given(self, y: Tensor | None = None) -> Any:
        """Return p(z), or p(z|y) of B conditions: what has `log_prob` and `sample`."""

    def output(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return what the decoder puts out for codes (B, D), of which `likelihood` draws images."""

    def log_likelihood(self, x: Tensor, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return log p(x|z) of images (B, C, H, W) for codes (n, B, D), in nats, shape (n, B)."""


@runtime_checkable
class Conditional(Protocol):
    """Makes images of a class, or of another condition, that it is given."""

    condition: Any
    """A `vae_lab.conditions.Condition`."""

    @property
    def classes(self) -> int | None:
        """How many classes the condition is one of; None if it is something else."""

    @property
    def moves_prior(self) -> bool:
        """Whether p(z|y) depends on the condition."""

    def transfer(self, z: Tensor, y: Tensor, to: Tensor) -> Tensor:
        """Return the codes that are under conditions `to` what z (B, D) are under y."""


@runtime_checkable
class Classifies(Protocol):
    """Tells the classes of images apart."""

    def log_probs(self, x: Tensor) -> Tensor:
        """Return log p(y|x) of every class y, shape (B, classes), in nats."""


@runtime_checkable
class Clusters(Protocol):
    """Tells groups of images apart, without having seen a label."""

    def cluster(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the number of each image's group, shape (B,)."""


@runtime_checkable
class Density(Protocol):
    """Knows the likelihood of an image exactly."""

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return log p(x) of images (B, C, H, W), in nats, shape (B,)."""


@runtime_checkable
class Converges(Protocol):
    """Was fitted by iterations that raise the likelihood, but for what a floor costs."""

    @property
    def log_likelihoods(self) -> Tensor:
        """The mean log p(x) of the training images at each iteration, in nats."""


@runtime_checkable
class Images(Protocol):
    """A data set to measure and to draw on."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits that hold images: train, maybe val, and test."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """What classes or attributes are called; empty where images have none of them."""

    def loader(self, name: str, n: int | None = None) -> Iterable[Batch]:
        """Iterate over what `images` returns, a batch at a time."""

    def images(self, name: str, n: int | None = None) -> Batch:
        """Return the first `n` images of a split, binarised once, in a fixed order."""

    def protocol(self, name: str) -> dict[str, Any]:
        """Say which images a number was measured on."""

    def from_files(self, files: Sequence[Path]) -> Tensor:
        """Read other images and prepare them as these were, shape (N, C, H, W), in [0, 1]."""

    def undrawn(self) -> "Images":
        """Return the same images as they were before any pixel was drawn at random."""


_VERBS: dict[type, str] = {
    Encodes: "encode",
    Decodes: "decode",
    Samples: "sample",
    DrawsCodes: "draw codes",
    ReadsCodes: "read its codes off images",
    Bounds: "bound a likelihood",
    Generates: "draw from its prior and weigh images given a code",
    Classifies: "classify",
    Conditional: "be given a condition",
    Clusters: "tell clusters apart",
    Converges: "show how its likelihood rose",
    Corrupts: "corrupt images",
}


def require(model: Any, capability: type, user: str) -> None:
    """Refuse, in one sentence that names both, a model that lacks what `user` needs.

    Raises:
        LabError: If `model` does not fulfil `capability`.
    """
    if not isinstance(model, capability):
        need = _VERBS[capability]
        raise LabError(f"{user} needs a model that can {need}; {type(model).__name__} cannot.")


def group_size(model: Any) -> int | None:
    """Return the size of the one-hot groups that codes are made of; None of real numbers."""
    prior = getattr(model, "prior", None)
    # A model with a prior may have clusters of real codes besides.
    if prior is None and isinstance(model, Clusters) and isinstance(model, Encodes):
        return model.latent_dim
    size: int | None = getattr(prior, "classes", None)
    return size
