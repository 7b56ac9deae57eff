"""Densities of pixels as real numbers, around a mean that the decoder puts out."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vae_lab.arguments import one_of
from vae_lab.errors import LabError
from vae_lab.likelihoods.base import Likelihood
from vae_lab.precision import at_least_single

__all__ = ["Gaussian", "Laplace"]

Learned = Literal["none", "shared", "pixel"]


class _LocationScale(Likelihood):
    """Pixels around the sigmoid of the decoder's output, at a fixed or learned scale."""

    # Half a grey level: a tighter fit to 8-bit pixels is a fit to their rounding.
    floor = 1 / 512

    def __init__(self, scale: float = 1.0, learned: Learned = "none") -> None:
        super().__init__()

        if not self.floor < scale < math.inf:
            name = type(self).__name__
            raise LabError(f"A {name}'s scale must exceed {self.floor:.4f}; it is {scale}.")
        one_of(get_args(Learned), learned=learned)
        self.per_pixel = learned == "pixel"
        start = torch.tensor(math.log(scale - self.floor))
        self.log_scale = nn.Parameter(start, requires_grad=learned == "shared")

    def outputs(self, channels: int) -> int:
        return 2 * channels if self.per_pixel else channels

    def mean(self, output: Tensor) -> Tensor:
        return self._split(output)[0]

    def _split(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean of each pixel, and its scale or that of all."""
        output = at_least_single(output)
        if not self.per_pixel:
            return output.sigmoid(), self.floor + self.log_scale.exp()
        mean, log_scale = output.chunk(2, -3)
        return mean.sigmoid(), self.floor + (self.log_scale + log_scale).exp()


class Gaussian(_LocationScale):
    r"""Gaussian pixels around the sigmoid of the decoder's output.

    .. math:: \log p(x | z) = \sum_i \log N(x_i; \mathrm{sigmoid}(o_i), \sigma^2)

    A density of 8-bit values: it may exceed one, and its logarithm zero.

    Args:
        scale: Standard deviation in units of the pixel range; where it is learned, the start.
        learned: `none` keeps the scale, `shared` learns one for all pixels, `pixel` lets the
            decoder put out one for each pixel.

    Raises:
        LabError: If `scale` is not above half a grey level, or `learned` is none of the three.

    References:
        Rybkin et al., Simple and Effective VAE Training with Calibrated Decoders, 2021.
        https://arxiv.org/abs/2006.13202
    """

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        self.check(output, x)
        mean, scale = self._split(output)
        log_prob = -0.5 * ((x - mean) / scale).square() - scale.log()
        return (log_prob - 0.5 * math.log(2 * math.pi)).flatten(-3).sum(-1)

    def sample(self, output: Tensor) -> Tensor:
        mean, scale = self._split(output)
        return mean + scale * torch.randn_like(mean)


class Laplace(_LocationScale):
    r"""Laplacian pixels around the sigmoid of the decoder's output; far-off ones cost less.

    .. math::
        \log p(x | z) = -\sum_i \left[ \frac{|x_i - \mathrm{sigmoid}(o_i)|}{b} + \log 2 b \right]

    A density of 8-bit values: it may exceed one, and its logarithm zero.

    Args:
        scale: Mean distance b from the mean in units of the pixel range; where it is learned,
            the start.
        learned: `none` keeps the scale, `shared` learns one for all pixels, `pixel` lets the
            decoder put out one for each pixel.

    Raises:
        LabError: If `scale` is not above half a grey level, or `learned` is none of the three.
    """

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        self.check(output, x)
        mean, scale = self._split(output)
        return -((x - mean).abs() / scale + (2 * scale).log()).flatten(-3).sum(-1)

    def sample(self, output: Tensor) -> Tensor:
        mean, scale = self._split(output)
        # A difference of two exponentials is Laplacian, and none of them needs a logarithm of 0.
        noise = torch.empty_like(mean).exponential_() - torch.empty_like(mean).exponential_()
        return mean + scale * noise
