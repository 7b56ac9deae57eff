"""Mixtures of Gaussians: with free parameters, and the VampPrior."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from vae_lab.arguments import at_least
from vae_lab.contracts import Shape
from vae_lab.errors import LabError
from vae_lab.posteriors import LOG_VARIANCE_BOUND, DiagonalGaussian, Family, Gaussian, Posterior
from vae_lab.precision import doubled
from vae_lab.priors.base import CodeDensity, Prior
from vae_lab.words import article

__all__ = ["Mixture", "MixtureOfGaussians", "VampPrior"]


@dataclass(frozen=True)
class Mixture(CodeDensity):
    r"""A mixture of diagonal Gaussians.

    .. math:: p(z) = \sum_k w_k\, N(z; \mu_k, \mathrm{diag}\, \sigma_k^2)

    Attributes:
        log_weights: Logarithms of the weights, which sum to one, shape (K,).
        parts: The K Gaussians.
    """

    log_weights: Tensor
    parts: DiagonalGaussian

    def log_prob(self, z: Tensor) -> Tensor:
        mean, log_variance = map(doubled, self.parts)
        precision = (-log_variance).exp()
        # The expanded square is a matrix product instead of a tensor of size (..., K, D); its
        # terms cancel, which takes the digits of double precision.
        wide = doubled(z)
        slopes = torch.cat([-0.5 * precision, precision * mean], 1)
        constant = precision * mean.square() + log_variance + math.log(2 * math.pi)
        offsets = doubled(self.log_weights) - 0.5 * constant.sum(1)
        log_joint = linear(torch.cat([wide.square(), wide], -1), slopes, offsets)
        return log_joint.logsumexp(-1).to(z)

    def sample(self, n: int) -> Tensor:
        k = torch.multinomial(self.log_weights.exp(), n, replacement=True)
        return DiagonalGaussian(*(part[k] for part in self.parts)).sample(1)[0]


class MixtureOfGaussians(Prior):
    r"""A mixture of diagonal Gaussians whose weights, means and variances are learned.

    .. math:: p(z) = \sum_k w_k\, N(z; \mu_k, \mathrm{diag}\, \sigma_k^2), \quad \sum_k w_k = 1

    Initially weights and variances are equal, and means are drawn from N(0, I).

    Args:
        latent_dim: Size of the code.
        shape: Not used.
        components: K, the number of Gaussians.

    Raises:
        LabError: If there are no components.

    References:
        Jiang et al., Variational Deep Embedding, 2017. https://arxiv.org/abs/1611.05148
    """

    def __init__(self, latent_dim: int, shape: Shape | None = None, components: int = 10) -> None:
        super().__init__(latent_dim, shape)

        at_least(1, components=components)
        self.logits = nn.Parameter(torch.zeros(components))
        # Different from the start: equal components would have equal gradients.
        self.means = nn.Parameter(torch.randn(components, latent_dim))
        self.log_variances = nn.Parameter(torch.zeros(components, latent_dim))

    def given(self, infer: Callable[[Tensor], Posterior]) -> Mixture:
        log_variances = self.log_variances.clamp(-LOG_VARIANCE_BOUND, LOG_VARIANCE_BOUND)
        return Mixture(self.logits.log_softmax(0), DiagonalGaussian(self.means, log_variances))


class VampPrior(Prior):
    r"""The average posterior of learned pseudo-inputs.

    .. math:: p(z) = \frac{1}{K} \sum_k q(z | u_k), \quad u_k = \mathrm{sigmoid}(v_k)

    The paper clips u_k to [0, 1], after which a pixel has no gradient; a sigmoid avoids that.

    Args:
        latent_dim: Size of the code.
        shape: Channels, height and width of a pseudo-input.
        pseudo_inputs: K, the number of pseudo-inputs.

    Raises:
        LabError: If there are no pseudo-inputs, or the posterior is not a `Gaussian`.

    References:
        Tomczak & Welling, VAE with a VampPrior, 2018. https://arxiv.org/abs/1705.07120
    """

    def __init__(self, latent_dim: int, shape: Shape, pseudo_inputs: int = 500) -> None:
        super().__init__(latent_dim, shape)

        at_least(1, pseudo_inputs=pseudo_inputs)
        self.logits = nn.Parameter(torch.randn(pseudo_inputs, *shape))

    def check(self, family: Family) -> None:
        if not isinstance(family, Gaussian):
            raise LabError(
                f"A VampPrior mixes Gaussian posteriors; {article(family)} posterior's "
                "codes need another prior."
            )

    def given(self, infer: Callable[[Tensor], Posterior]) -> Mixture:
        posterior = infer(self.logits.sigmoid())
        assert isinstance(posterior, DiagonalGaussian)  # checked by `check`
        weights = posterior.mean.new_full((len(self.logits),), -math.log(len(self.logits)))
        return Mixture(weights, posterior)
