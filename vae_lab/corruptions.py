"""Corruptions: what a denoising autoencoder learns to undo."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from vae_lab.errors import LabError

__all__ = ["Corruption", "GaussianNoise", "Masking", "SaltAndPepper"]


class Corruption(ABC):
    """Base of all corruptions: damage that is done to images (B, C, H, W), in [0, 1]."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Return a damaged copy of `x`, same shape, drawn from the global random stream."""

    def __str__(self) -> str:
        """Name the damage and its extent, as in "Masking 0.3"."""
        return " ".join([type(self).__name__, *(f"{level:g}" for level in vars(self).values())])


class Masking(Corruption):
    r"""Sets each value, of each channel of a pixel by itself, to 0 with probability `level`.

    .. math:: \tilde x = m \odot x, \quad m_i \sim \mathrm{Bernoulli}(1 - \text{level})

    Args:
        level: Share of the values that are lost, between 0 and 1.

    Raises:
        LabError: If `level` is outside [0, 1].

    References:
        Vincent et al., Stacked Denoising Autoencoders, 2010.
        https://www.jmlr.org/papers/v11/vincent10a.html
    """

    def __init__(self, level: float = 0.3) -> None:
        self.level = _share(level)

    def __call__(self, x: Tensor) -> Tensor:
        return x * (torch.rand_like(x) >= self.level)


class SaltAndPepper(Corruption):
    """Sets each value, with probability `level`, to 0 or 1 by a fair coin.

    The channels of a pixel are drawn one by one.

    Args:
        level: Share of the values that are lost, between 0 and 1.

    Raises:
        LabError: If `level` is outside [0, 1].

    References:
        Vincent et al., Stacked Denoising Autoencoders, 2010.
        https://www.jmlr.org/papers/v11/vincent10a.html
    """

    def __init__(self, level: float = 0.3) -> None:
        self.level = _share(level)

    def __call__(self, x: Tensor) -> Tensor:
        # Below half the level a value turns 0, from there to the level 1.
        u = torch.rand_like(x)
        return torch.where(u < self.level, (u >= self.level / 2).to(x), x)


class GaussianNoise(Corruption):
    r"""Adds independent Gaussian noise to each value, not clipped.

    .. math:: \tilde x = x + \epsilon, \quad \epsilon_i \sim N(0, \text{scale}^2)

    Args:
        scale: Standard deviation in units of the pixel range, between 0 and 1.

    Raises:
        LabError: If `scale` is outside [0, 1].

    References:
        Vincent et al., Stacked Denoising Autoencoders, 2010.
        https://www.jmlr.org/papers/v11/vincent10a.html
    """

    def __init__(self, scale: float = 0.3) -> None:
        self.scale = _share(scale)

    def __call__(self, x: Tensor) -> Tensor:
        return x + self.scale * torch.randn_like(x)


def _share(level: float) -> float:
    if not 0 <= level <= 1:
        raise LabError(f"A corruption level lies between 0 and 1; got {level}.")
    return level
