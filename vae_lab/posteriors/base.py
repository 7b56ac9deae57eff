"""The protocol of posteriors, and the base of their families."""

from abc import ABC, abstractmethod
from typing import Protocol

from torch import Tensor, nn

__all__ = ["Family", "Posterior"]


class Posterior(Protocol):
    """A distribution of codes for each of B images."""

    @property
    def mean(self) -> Tensor:
        """The mean code of each image, shape (B, D)."""

    def rsample(self, n: int) -> Tensor:
        """Draw `n` differentiable codes per image, shape (n, B, D), which may be relaxed ones."""

    def sample(self, n: int) -> Tensor:
        """Draw `n` codes per image, shape (n, B, D), from the distribution of `log_prob`."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density, or log-probability, of codes (..., B, D), shape (..., B)."""

    def detach(self) -> "Posterior":
        """Return the same distribution with detached parameters."""


class Family(nn.Module, ABC):
    """Base of all families of posteriors.

    Args:
        latent_dim: Size of the code.

    Attributes:
        features: Number of features per image that it needs.
        visible: Number of the code's first dimensions that the decoder gets.
        classes: Size of a one-hot group of the code; None if codes are real numbers.
        about_mean: What a posterior's `mean` is, if not the mean of the whole code.
    """

    classes: int | None = None
    about_mean: str | None = None

    def __init__(self, latent_dim: int) -> None:
        super().__init__()

        self.features = 2 * latent_dim
        self.visible = latent_dim

    def seen(self, z: Tensor) -> Tensor:
        """Return the part of codes (..., D) that the decoder gets, shape (..., visible)."""
        # A full slice would still cost a copy in the backward pass.
        return z if z.shape[-1] == self.visible else z[..., : self.visible]

    @abstractmethod
    def forward(self, features: Tensor, step: int) -> Posterior:
        """Return the posteriors for features (B, features) at a training step."""
