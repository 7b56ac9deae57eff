"""Likelihoods p(x|z): what a decoder's output says of an image."""

import math
from abc import ABC, abstractmethod
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from vae_lab.errors import LabError
from vae_lab.precision import at_least_single

__all__ = ["Bernoulli", "Gaussian", "Likelihood"]

Learned = Literal["none", "shared", "pixel"]


class Likelihood(nn.Module, ABC):
    """Base of all likelihoods; pixels are independent given the code.

    Attributes:
        channels: How many channels the decoder puts out for each channel of the image.
        binary: Whether it is a likelihood of black and white pixels alone.
    """

    channels = 1
    binary = False

    @abstractmethod
    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return log p(x|z) in nats, summed over channels and pixels.

        Args:
            output: What the decoder put out, shape (..., B, channels * C, H, W).
            x: Images in [0, 1], shape (B, C, H, W).

        Returns:
            Shape (..., B).
        """

    @abstractmethod
    def mean(self, output: Tensor) -> Tensor:
        """Return the mean image, shape (..., C, H, W), in [0, 1]."""

    @abstractmethod
    def sample(self, output: Tensor) -> Tensor:
        """Draw images, shape (..., C, H, W), from the global random stream."""


class Bernoulli(Likelihood):
    r"""Independent coin for each pixel; the decoder puts out its logit.

    .. math:: \log p(x | z) = \sum_i x_i \log \theta_i + (1 - x_i) \log (1 - \theta_i)

    For grey pixels between 0 and 1 this is a cross-entropy and no likelihood; choose one of the
    binarisations of the data when the number is to be compared.
    """

    binary = True

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        logits = at_least_single(output)
        log_prob: Tensor = _BernoulliLogProb.apply(logits, x.to(logits.dtype))
        return log_prob

    def mean(self, output: Tensor) -> Tensor:
        return at_least_single(output).sigmoid()

    def sample(self, output: Tensor) -> Tensor:
        return self.mean(output).bernoulli()


class Gaussian(Likelihood):
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

    # Half a grey level: a tighter fit to 8-bit pixels is a fit to their rounding.
    floor = 1 / 512

    def __init__(self, scale: float = 1.0, learned: Learned = "none") -> None:
        super().__init__()

        if not self.floor < scale < math.inf:
            raise LabError(f"A Gaussian's scale must exceed {self.floor:.4f}; it is {scale}.")
        if learned not in get_args(Learned):
            raise LabError(f"learned is one of {', '.join(get_args(Learned))}, not {learned!r}.")
        self.channels = 2 if learned == "pixel" else 1
        start = torch.tensor(math.log(scale - self.floor))
        self.log_scale = nn.Parameter(start, requires_grad=learned == "shared")

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        mean, scale = self._split(output)
        log_prob = -0.5 * ((x - mean) / scale).square() - scale.log()
        return (log_prob - 0.5 * math.log(2 * math.pi)).flatten(-3).sum(-1)

    def mean(self, output: Tensor) -> Tensor:
        return self._split(output)[0]

    def sample(self, output: Tensor) -> Tensor:
        mean, scale = self._split(output)
        return (mean + scale * torch.randn_like(mean)).clamp(0, 1)

    def _split(self, output: Tensor) -> tuple[Tensor, Tensor]:
        output = at_least_single(output)
        if self.channels == 1:
            return output.sigmoid(), self.floor + self.log_scale.exp()
        mean, log_scale = output.chunk(2, -3)
        return mean.sigmoid(), self.floor + (self.log_scale + log_scale).exp()


class _BernoulliLogProb(torch.autograd.Function):
    r"""The sum over an image of :math:`x o - \log(1 + e^o)`, in a fifth of torch's time on a CPU.

    With :math:`\log(1 + e^o) = \max(o, 0) - \log \sigma(|o|)` the sigmoids, each at least a half,
    can be multiplied sixteen at a time before one logarithm is taken. The gradient needs none.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(logits, x)
        flat = logits.flatten(-3)
        group = math.gcd(16, flat.shape[-1])
        sigmoids = flat.abs().sigmoid_().view(*flat.shape[:-1], group, -1)
        log_sigmoids = sigmoids.prod(-2).log_().sum(-1)
        # Autocast would make this product one of half precision; it leaves a given `out` alone.
        match = flat.new_empty(flat.shape[:-1])
        torch.linalg.vecdot(flat, x.flatten(-3).expand_as(flat), out=match)
        return match - flat.clamp(min=0).sum(-1) + log_sigmoids

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        logits, x = ctx.saved_tensors
        gradient = gradient[..., None, None, None]
        to_x = (logits * gradient).sum_to_size(x.shape) if ctx.needs_input_grad[1] else None
        return (x - logits.sigmoid()).mul_(gradient), to_x
