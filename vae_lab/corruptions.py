"""Corruptions of images, which denoising autoencoders learn to remove."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from vae_lab.errors import LabError

__all__ = ["Corruption", "GaussianNoise", "Masking", "SaltAndPepper"]


class Corruption(ABC):
    """Base of all corruptions of images (B, C, H, W) in [0, 1]."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Return a corrupted copy of `x`, same shape, from the global random stream."""

    def __str__(self) -> str:
        """Return the name and the level, as in "Masking 0.3"."""
        return " ".join([type(self).__name__, *(f"{level:g}" for level in vars(self).values())])


class Masking(Corruption):
    r"""Sets each value to 0 with probability `level`, channels independently.

    .. math:: \tilde x = m \odot x, \quad m_i \sim \mathrm{Bernoulli}(1 - \text{level})

    Args:
        level: Expected share of corrupted values, between 0 and 1.

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
    """Sets each value, with probability `level`, to 0 or 1 with equal probabilities.

    Channels are corrupted independently.

    Args:
        level: Expected share of corrupted values, between 0 and 1.

    Raises:
        LabError: If `level` is outside [0, 1].

    References:
        Vincent et al., Stacked Denoising Autoencoders, 2010.
        https://www.jmlr.org/papers/v11/vincent10a.html
    """

    def __init__(self, level: float = 0.3) -> None:
        self.level = _share(level)

    def __call__(self, x: Tensor) -> Tensor:
        # Below level / 2 a value becomes 0, from there to the level 1.
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
