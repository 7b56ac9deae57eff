"""Priors p(z): what codes look like before any image was seen."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from vae_lab.losses import gaussian_kl
from vae_lab.posteriors import DiagonalGaussian

__all__ = ["Prior", "StandardNormal"]


class Prior(nn.Module, ABC):
    """Base of all priors: a density to evaluate, to draw from, and to be divergent from."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()

        self.latent_dim = latent_dim

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density of codes (..., D), shape (...)."""

    @abstractmethod
    def sample(self, n: int, device: torch.device | None = None) -> Tensor:
        """Draw codes of shape (n, D) from the global random stream."""

    @abstractmethod
    def kl(self, posterior: DiagonalGaussian) -> Tensor:
        """Return the divergence of `posterior` from this prior for each dimension, (B, D)."""


class StandardNormal(Prior):
    r"""The standard normal, :math:`p(z) = N(z; 0, I)`."""

    def log_prob(self, z: Tensor) -> Tensor:
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)

    def sample(self, n: int, device: torch.device | None = None) -> Tensor:
        return torch.randn(n, self.latent_dim, device=device)

    def kl(self, posterior: DiagonalGaussian) -> Tensor:
        return gaussian_kl(posterior.mean, posterior.log_variance)
