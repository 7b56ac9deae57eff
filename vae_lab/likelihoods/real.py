"""Likelihoods of real-valued pixels: Gaussian and Laplace densities."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vae_lab.arguments import one_of
from vae_lab.errors import LabError
from vae_lab.likelihoods.base import Likelihood
from vae_lab.precision import at_least_single
from vae_lab.words import article

__all__ = ["Gaussian", "Laplace"]

Learned = Literal["none", "shared", "pixel"]


class _LocationScale(Likelihood):
    """Pixels with the sigmoid of the decoder's output as mean, and a fixed or learned scale."""

    # Half a grey level; with a smaller scale, the rounding of 8-bit pixels would be fitted.
    floor = 1 / 512

    def __init__(self, scale: float = 1.0, learned: Learned = "none") -> None:
        super().__init__()

        if not self.floor < scale < math.inf:
            name = type(self).__name__
            raise LabError(
                f"{article(name, 'A')}'s scale must exceed {self.floor:.4f}; it is {scale}."
            )
        one_of(get_args(Learned), learned=learned)
        self.per_pixel = learned == "pixel"
        start = torch.tensor(math.log(scale - self.floor))
        self.log_scale = nn.Parameter(start, requires_grad=learned == "shared")

    def outputs(self, channels: int) -> int:
        return 2 * channels if self.per_pixel else channels

    def mean(self, output: Tensor) -> Tensor:
        return self._split(output)[0]

    def _split(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean of each pixel, and the scale of each or of all."""
        output = at_least_single(output)
        if not self.per_pixel:
            return output.sigmoid(), self.floor + self.log_scale.exp()
        mean, log_scale = output.chunk(2, -3)
        return mean.sigmoid(), self.floor + (self.log_scale + log_scale).exp()


class Gaussian(_LocationScale):
    r"""Gaussian pixels with the sigmoid of the decoder's output o as mean.

    .. math:: \log p(x | z) = \sum_i \log N(x_i; \mathrm{sigmoid}(o_i), \sigma^2)

    A density, which may exceed one, so that its logarithm may be positive.

    Args:
        scale: Standard deviation in units of the pixel range; the initial one if it is learned.
        learned: `none` keeps the scale fixed, `shared` learns one for all pixels, `pixel` takes
            one per pixel from the decoder's output.

    Raises:
        LabError: If `scale` is not above half a grey level, or `learned` is unknown.

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
    r"""Laplacian pixels with the sigmoid of the decoder's output o as mean; robust to outliers.

    .. math::
        \log p(x | z) = -\sum_i \left[ \frac{|x_i - \mathrm{sigmoid}(o_i)|}{b} + \log 2 b \right]

    A density, which may exceed one, so that its logarithm may be positive.

    Args:
        scale: Mean absolute deviation b in units of the pixel range; the initial one if it is
            learned.
        learned: `none` keeps the scale fixed, `shared` learns one for all pixels, `pixel` takes
            one per pixel from the decoder's output.

    Raises:
        LabError: If `scale` is not above half a grey level, or `learned` is unknown.
    """

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        self.check(output, x)
        mean, scale = self._split(output)
        return -((x - mean).abs() / scale + (2 * scale).log()).flatten(-3).sum(-1)

    def sample(self, output: Tensor) -> Tensor:
        mean, scale = self._split(output)
        # The difference of two exponentials is Laplacian, without a logarithm of 0.
        noise = torch.empty_like(mean).exponential_() - torch.empty_like(mean).exponential_()
        return mean + scale * noise
