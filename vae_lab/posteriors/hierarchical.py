"""Posteriors of two Gaussian layers."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vae_lab.errors import LabError
from vae_lab.nets.base import initialise
from vae_lab.nets.mlp import mlp
from vae_lab.posteriors.base import Family
from vae_lab.posteriors.gaussian import DiagonalGaussian

__all__ = ["BottomUp", "TwoLayers", "lower_size"]


class TwoLayers(NamedTuple):
    r"""A Gaussian layer, and an upper one given the lower.

    .. math:: q(h_1, h_2 | x) = q(h_1 | x)\, q(h_2 | h_1)

    Attributes:
        first: The lower layer.
        second: Maps its codes (..., B, D1) to the distribution of the upper layer.
    """

    first: DiagonalGaussian
    second: Callable[..., DiagonalGaussian]

    @property
    def mean(self) -> Tensor:
        """Means of both layers, the upper one given the lower one's mean, shape (B, D1 + D2)."""
        return torch.cat([self.first.mean, self.second(self.first.mean).mean], -1)

    def rsample(self, n: int) -> Tensor:
        """Draw `n` codes for each image, differentiably, shape (n, B, D1 + D2)."""
        h1 = self.first.rsample(n)
        return torch.cat([h1, self.second(h1).rsample(1)[0]], -1)

    def sample(self, n: int) -> Tensor:
        """Draw `n` codes for each image, shape (n, B, D1 + D2)."""
        return self.rsample(n)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density of codes (..., B, D1 + D2), shape (..., B)."""
        size = self.first.mean.shape[-1]
        h1, h2 = z[..., :size], z[..., size:]
        return self.first.log_prob(h1) + self.second(h1).log_prob(h2)

    def detach(self) -> "TwoLayers":
        """Return the same distribution with detached parameters."""
        return TwoLayers(self.first.detach(), partial(self.second, frozen=True))


class BottomUp(Family):
    r"""Two layers of Gaussians, the upper inferred from the lower, which the decoder gets.

    .. math:: q(h_1, h_2 | x) = q(h_1 | x)\, q(h_2 | h_1)

    A code is (h_1, h_2). The matching prior is `TopDown`.

    Args:
        latent_dim: Size of the code, both layers together.
        top: Size of the upper layer.
        hidden: Widths of the hidden layers from the lower to the upper.
        activation: Name of an activation in torch.nn.

    Raises:
        LabError: If the upper layer is not smaller than the code, a width is not positive or
            `activation` is unknown.

    References:
        Burda et al., Importance Weighted Autoencoders, 2016. https://arxiv.org/abs/1509.00519
    """

    about_mean = "the upper layer's that of the lower one's mean"

    def __init__(
        self,
        latent_dim: int,
        top: int = 50,
        hidden: Sequence[int] = (100, 100),
        activation: str = "Tanh",
    ) -> None:
        super().__init__(latent_dim)

        self.visible = lower_size(latent_dim, top)
        self.features = 2 * self.visible
        self.net = nn.Sequential(*mlp([self.visible, *hidden, 2 * top], activation))
        initialise(self.net)

    def forward(self, features: Tensor, step: int) -> TwoLayers:
        return TwoLayers(DiagonalGaussian.from_features(features), self.above)

    def above(self, h1: Tensor, frozen: bool = False) -> DiagonalGaussian:
        """Return q(h2|h1) for codes (..., D1); if `frozen`, with gradients to the codes only."""
        weights = {name: weight.detach() for name, weight in self.net.named_parameters()}
        features = functional_call(self.net, weights, h1) if frozen else self.net(h1)
        return DiagonalGaussian.from_features(features)


def lower_size(latent_dim: int, top: int) -> int:
    """Return the size of the lower layer of a code.

    Raises:
        LabError: If a layer is empty.
    """
    if not 0 < top < latent_dim:
        raise LabError(
            f"The upper layer's {top} of {latent_dim} dimensions leave the lower none, or are "
            "none: latent_dim counts both layers."
        )
    return latent_dim - top
