"""Priors without parameters."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vae_lab.contracts import Shape
from vae_lab.losses import categorical_kl, gaussian_kl
from vae_lab.posteriors import (
    Categorical,
    DiagonalGaussian,
    Gaussian,
    GumbelSoftmax,
    Posterior,
    group_count,
)
from vae_lab.priors.base import CodeDensity, Prior

__all__ = ["StandardNormal", "Uniform"]


class StandardNormal(Prior, CodeDensity):
    r"""The standard normal, :math:`p(z) = N(z; 0, I)`."""

    closed_form = (Gaussian,)
    origin: Tensor

    def __init__(self, latent_dim: int, shape: Shape | None = None) -> None:
        super().__init__(latent_dim, shape)

        self.register_buffer("origin", torch.zeros(latent_dim), persistent=False)

    def given(self, infer: Callable[[Tensor], Posterior]) -> CodeDensity:
        return self

    def log_prob(self, z: Tensor) -> Tensor:
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)

    def sample(self, n: int) -> Tensor:
        return torch.randn_like(self.origin.expand(n, -1))

    def kl(self, posterior: Posterior, z: Tensor) -> Tensor:
        if isinstance(posterior, DiagonalGaussian):
            return gaussian_kl(posterior.mean, posterior.log_variance)
        return super().kl(posterior, z)


class Uniform(Prior, CodeDensity):
    r"""The uniform distribution of codes made of one-hot groups.

    .. math:: p(z) = C^{-G}, \quad \text{for } G \text{ groups of } C \text{ classes}

    Args:
        latent_dim: Size of the code, of latent_dim / classes groups.
        shape: Not used.
        classes: C, the number of classes per group, equal to the posterior's.

    Raises:
        LabError: If the classes do not divide the code.

    References:
        Jang et al., Categorical Reparameterization with Gumbel-Softmax, 2017.
        https://arxiv.org/abs/1611.01144
    """

    closed_form = (GumbelSoftmax,)
    logits: Tensor

    def __init__(self, latent_dim: int, shape: Shape | None = None, classes: int = 10) -> None:
        super().__init__(latent_dim, shape)

        self.classes = classes
        logits = torch.zeros(group_count(latent_dim, classes), classes)
        self.register_buffer("logits", logits, persistent=False)

    def given(self, infer: Callable[[Tensor], Posterior]) -> CodeDensity:
        return self

    def log_prob(self, z: Tensor) -> Tensor:
        log_prob = -len(self.logits) * math.log(self.logits.shape[1])
        return torch.full_like(z[..., 0], log_prob)

    def sample(self, n: int) -> Tensor:
        return Categorical(self.logits).sample(n)

    def kl(self, posterior: Posterior, z: Tensor) -> Tensor:
        if isinstance(posterior, Categorical):
            return categorical_kl(posterior.logits)
        return super().kl(posterior, z)
