"""What a posterior has to be able to do, and what a family of them says before there is one."""

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
        """Draw `n` codes for each image, differentiably, shape (n, B, D); maybe relaxed ones."""

    def sample(self, n: int) -> Tensor:
        """Draw `n` codes for each image, shape (n, B, D), from what `log_prob` describes."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density, or log-probability, of codes (..., B, D), shape (..., B)."""

    def detach(self) -> "Posterior":
        """Return the same distribution, its parameters out of the gradient's reach."""


class Family(nn.Module, ABC):
    """Base of all families of posteriors.

    Args:
        latent_dim: Size of the code.

    Attributes:
        features: How many features of an image it needs.
        visible: How many of the code's first dimensions the decoder sees.
        classes: Size of a one-hot group of the code; None if codes are real numbers.
        about_mean: What a posterior's `mean` is, where it is not that of all its codes.
    """

    classes: int | None = None
    about_mean: str | None = None

    def __init__(self, latent_dim: int) -> None:
        super().__init__()

        self.features = 2 * latent_dim
        self.visible = latent_dim

    def seen(self, z: Tensor) -> Tensor:
        """Return what the decoder sees of codes (..., D), shape (..., visible)."""
        # A slice of everything would still cost its gradient a copy.
        return z if z.shape[-1] == self.visible else z[..., : self.visible]

    @abstractmethod
    def forward(self, features: Tensor, step: int) -> Posterior:
        """Return the posteriors of images with features (B, features) at a training step."""
