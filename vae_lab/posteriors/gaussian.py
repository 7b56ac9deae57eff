"""Diagonal Gaussian posteriors."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vae_lab.posteriors.base import Family
from vae_lab.precision import at_least_single

__all__ = ["LOG_VARIANCE_BOUND", "DiagonalGaussian", "Gaussian"]

LOG_VARIANCE_BOUND = 10.0


class DiagonalGaussian(NamedTuple):
    r"""A Gaussian with diagonal covariance.

    .. math:: q(z | x) = N(z; \mu(x), \mathrm{diag}\, \sigma^2(x))

    Attributes:
        mean: Shape (B, D).
        log_variance: Shape (B, D), within 10 nats of zero.
    """

    mean: Tensor
    log_variance: Tensor

    @classmethod
    def from_features(cls, features: Tensor) -> "DiagonalGaussian":
        """Split features (B, 2 D) into means and bounded log-variances."""
        mean, log_variance = at_least_single(features).chunk(2, -1)
        return cls(mean, log_variance.clamp(-LOG_VARIANCE_BOUND, LOG_VARIANCE_BOUND))

    def rsample(self, n: int) -> Tensor:
        """Draw `n` codes for each image, differentiably, shape (n, B, D)."""
        shape = (n, *self.mean.shape)
        noise = torch.randn(shape, dtype=self.mean.dtype, device=self.mean.device)
        return torch.addcmul(self.mean, (0.5 * self.log_variance).exp(), noise)

    def sample(self, n: int) -> Tensor:
        """Draw `n` codes for each image, shape (n, B, D)."""
        return self.rsample(n)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density of codes (..., B, D), shape (..., B)."""
        square = (z - self.mean).square() * (-self.log_variance).exp()
        return -0.5 * (square + self.log_variance + math.log(2 * math.pi)).sum(-1)

    def detach(self) -> "DiagonalGaussian":
        """Return the same distribution with detached parameters."""
        return DiagonalGaussian(self.mean.detach(), self.log_variance.detach())


class Gaussian(Family):
    r"""Diagonal Gaussians, with means and variances from the encoder.

    .. math:: q(z | x) = N(z; \mu(x), \mathrm{diag}\, \sigma^2(x))

    The encoder's features (B, 2 D) are means and log-variances; the latter are clipped to ±10.

    References:
        Kingma & Welling, Auto-Encoding Variational Bayes, 2014. https://arxiv.org/abs/1312.6114
    """

    def forward(self, features: Tensor, step: int) -> DiagonalGaussian:
        return DiagonalGaussian.from_features(features)
