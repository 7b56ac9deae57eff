"""The contracts between packages: a batch of images, and the capabilities of models."""

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
    """Images with their labels or conditions.

    Attributes:
        x: Images in [0, 1], shape (B, C, H, W).
        y: The condition, or the labels for probes and plots: class indices (B,), attributes
            (B, A) or images (B, C', H', W').
    """

    x: Tensor
    y: Tensor

    @classmethod
    def unlabelled(cls, x: Tensor) -> "Batch":
        """Return images without labels."""
        return cls(x, torch.zeros(len(x)))

    @property
    def has_classes(self) -> bool:
        """Whether the labels are class indices, not attributes or images."""
        return self.y.ndim == 1 and not self.y.is_floating_point()

    @property
    def has_several_classes(self) -> bool:
        """Whether there is more than one class; unlabelled images are all of the first."""
        return self.has_classes and len(torch.unique(self.y)) > 1


@runtime_checkable
class Encodes(Protocol):
    """Encodes images."""

    latent_dim: int

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return one code per image, such as the posterior mean, shape (B, latent_dim)."""


@runtime_checkable
class Perceives(Protocol):
    """Measures reconstructions in features of its own instead of pixels."""

    def perceive(self, x: Tensor) -> Tensor:
        """Return the features of images (B, C, H, W), shape (B, ...)."""


@runtime_checkable
class Decodes(Protocol):
    """Decodes codes to images."""

    latent_dim: int

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the mean image of each code, shape (B, C, H, W), in [0, 1].

        A linear decoder's images are not clipped, and may lie outside.
        """


@runtime_checkable
class Samples(Protocol):
    """Samples new images."""

    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw `n` images, shape (n, C, H, W), in [0, 1], from the global random stream."""


@runtime_checkable
class DrawsCodes(Protocol):
    """Samples codes that do not come from an image."""

    latent_dim: int

    def draw_codes(self, n: int) -> Tensor:
        """Draw codes, shape (n, latent_dim), from the global random stream."""


@runtime_checkable
class ReadsCodes(Protocol):
    """Predicts, from an image, codes that it was generated from, like an InfoGAN."""

    codes: dict[str, Any]
    """The specification of each code, by name: one of `vae_lab.codes`."""

    places: dict[str, slice]
    """The dimensions of each code in the vectors of `draw_codes`."""

    @property
    def category(self) -> str | None:
        """The name of the first categorical code, if there is one."""

    def read(self, x: Tensor) -> dict[str, Tensor]:
        """Return the prediction of each code of images (B, C, H, W): logits, or a mean (B, 1)."""


@runtime_checkable
class Corrupts(Protocol):
    """Restores corrupted images, if it has a `corruption` that is not None."""

    def corrupt(self, x: Tensor) -> Tensor:
        """Return corrupted images, shape (B, C, H, W), from the global random stream."""


@runtime_checkable
class Bounds(Protocol):
    """Has a lower bound on the log-likelihood of an image."""

    def log_weights(self, x: Tensor, samples: int, y: Tensor | None = None) -> Tensor:
        r"""Draw importance weights log p(x, z) - log q(z|x), in nats, shape (samples, B).

        Their mean estimates the ELBO, their logsumexp minus log(samples) the importance-weighted
        bound of Burda et al. (2016).
        """


@runtime_checkable
class Diverges(Protocol):
    """Has a divergence of its posterior from the prior for each part of the code."""

    def divergences(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the divergences for images (B, C, H, W) in nats, shape (B, parts of the code)."""


@runtime_checkable
class Generates(Protocol):
    """Has the densities p(z) of codes and p(x|z) of images given codes."""

    def prior_given(self, y: Tensor | None = None) -> Any:
        """Return p(z), or p(z|y) of B conditions, with `log_prob` and `sample`."""

    def output(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the decoder's output for codes (B, D), the parameters of `likelihood`."""

    def log_likelihood(self, x: Tensor, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return log p(x|z) of images (B, C, H, W) for codes (n, B, D), in nats, shape (n, B)."""


@runtime_checkable
class Conditional(Protocol):
    """Generates images given a condition, such as a class."""

    condition: Any
    """A `vae_lab.conditions.Condition`."""

    @property
    def classes(self) -> int | None:
        """The number of classes; None if the condition is not a class."""

    @property
    def moves_prior(self) -> bool:
        """Whether p(z|y) depends on the condition."""

    def transfer(self, z: Tensor, y: Tensor, to: Tensor) -> Tensor:
        """Return the codes under conditions `to` that correspond to z (B, D) under y."""


@runtime_checkable
class Classifies(Protocol):
    """Classifies images."""

    def log_probs(self, x: Tensor) -> Tensor:
        """Return log p(y|x) of every class y in nats, shape (B, classes)."""


@runtime_checkable
class Clusters(Protocol):
    """Clusters images without labels."""

    def cluster(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the cluster index of each image, shape (B,)."""


@runtime_checkable
class Density(Protocol):
    """Has an exact likelihood of images."""

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return log p(x) of images (B, C, H, W), in nats, shape (B,)."""


@runtime_checkable
class Converges(Protocol):
    """Was fitted by iterations that raise the likelihood, apart from variance floors."""

    @property
    def log_likelihoods(self) -> Tensor:
        """The mean log p(x) of the training images at each iteration, in nats."""


@runtime_checkable
class Images(Protocol):
    """A data set for metrics and pictures."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits that hold images: train, maybe val, and test."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes or attributes; empty if there are none."""

    def loader(self, name: str, n: int | None = None) -> Iterable[Batch]:
        """Iterate over the images of `images` in batches."""

    def images(self, name: str, n: int | None = None) -> Batch:
        """Return the first `n` images of a split, binarised once, in a fixed order."""

    def protocol(self, name: str) -> dict[str, Any]:
        """Return which images a number was measured on."""

    def from_files(self, files: Sequence[Path]) -> Tensor:
        """Read image files and prepare them like the data, shape (N, C, H, W), in [0, 1]."""

    def undrawn(self) -> "Images":
        """Return the same data without random binarisation."""


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
    """Refuse a model that lacks a capability that `user` needs.

    Raises:
        LabError: If `model` does not fulfil `capability`.
    """
    if not isinstance(model, capability):
        need = _VERBS[capability]
        raise LabError(f"{user} needs a model that can {need}; {type(model).__name__} cannot.")


def group_size(model: Any) -> int | None:
    """Return the size of the one-hot groups of codes; None for real-valued codes."""
    prior = getattr(model, "prior", None)
    # A model with a prior may also cluster, and have real-valued codes.
    if prior is None and isinstance(model, Clusters) and isinstance(model, Encodes):
        return model.latent_dim
    size: int | None = getattr(prior, "classes", None)
    return size
