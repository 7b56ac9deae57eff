"""Probabilities of 8-bit values, by mixtures of logistic distributions."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from vae_lab.arguments import at_least
from vae_lab.likelihoods.base import Likelihood
from vae_lab.precision import at_least_single

__all__ = ["DiscretizedLogisticMixture"]

LEVELS = 256
# Half the distance of two levels, on the scale from -1 to 1 on which logistics are placed.
HALF = 1 / (LEVELS - 1)
# Scales from a ninth of a level, below which only rounding is fitted, to one that is flat.
LOG_SCALE_BOUND = 7.0


class DiscretizedLogisticMixture(Likelihood):
    r"""Mixture of logistics, rounded to 8 bits; the colours of a pixel share their component.

    .. math::
        p(x | z) = \prod_i \sum_k \pi_{ik} \prod_c
        \left[ \sigma\!\left(\tfrac{x_{ic} + h - \mu_{ick}}{s_{ick}}\right)
        - \sigma\!\left(\tfrac{x_{ic} - h - \mu_{ick}}{s_{ick}}\right) \right]

    with h half the distance of two levels; levels 0 and 255 take all that lies beyond. The centre
    :math:`\mu` of green moves with the red of the image, that of blue with red and green, each
    in proportion to a number in (-1, 1) that the decoder puts out too. A probability, of which
    bits/dim can be told; pixels between two levels count as the nearer one.

    Args:
        components: How many logistics are mixed in each pixel.

    Raises:
        LabError: If there is no component.

    References:
        Salimans et al., PixelCNN++, 2017. https://arxiv.org/abs/1701.05517
    """

    discrete = True

    def __init__(self, components: int = 10) -> None:
        super().__init__()

        at_least(1, components=components)
        self.components = components

    def outputs(self, channels: int) -> int:
        """Return the number of weights, centres, scales and proportions, times the components."""
        return self.components * (channels + 1) * (channels + 2) // 2

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        self.check(output, x)
        mixture = self._mixture(output)
        levels = ((LEVELS - 1) * x.to(mixture.centres.dtype)).round()
        colours = (2 * HALF * levels - 1).unsqueeze(-3).unbind(-4)
        masses = [
            _log_mass(colour, mixture.centre(c, colours), mixture.log_scale(c))
            for c, colour in enumerate(colours)
        ]
        mixed = (mixture.log_weights + torch.stack(masses).sum(0)).logsumexp(-3)
        return mixed.flatten(-2).sum(-1)

    def mean(self, output: Tensor) -> Tensor:
        """Return the mean image to half a level, shape (..., C, H, W), in [0, 1].

        A colour that moves with others is taken to be where their means put it; that is exact as
        long as their logistics do not reach beyond black and white.
        """
        mixture = self._mixture(output)
        means = mixture.in_turn(_clipped_mean)
        return ((mixture.log_weights.exp().unsqueeze(-4) * means).sum(-3) + 1) / 2

    def sample(self, output: Tensor) -> Tensor:
        values = self._mixture(output).choose().in_turn(_draw)
        return (values.squeeze(-3) + 1) / 2

    def _mixture(self, output: Tensor) -> "_Mixture":
        output = at_least_single(output)
        kinds = output.reshape(*output.shape[:-3], -1, self.components, *output.shape[-2:])
        # Solves outputs(C) = components * kinds for the number of colours.
        colours = (math.isqrt(8 * kinds.shape[-4] + 1) - 3) // 2
        pairs = colours * (colours - 1) // 2
        weights, centres, log_scales, slopes = torch.split(kinds, [1, colours, colours, pairs], -4)
        return _Mixture(
            weights.squeeze(-4).log_softmax(-3),
            centres,
            log_scales.clamp(-LOG_SCALE_BOUND, LOG_SCALE_BOUND),
            slopes.tanh(),
        )


class _Mixture(NamedTuple):
    """Logistics on the scale from -1 to 1, for C colours.

    Attributes:
        log_weights: Shape (..., K, H, W).
        centres: Where nothing moves them, shape (..., C, K, H, W).
        log_scales: Shape (..., C, K, H, W).
        slopes: How much a colour moves with each before it, shape (..., C (C - 1) / 2, K, H, W).
    """

    log_weights: Tensor
    centres: Tensor
    log_scales: Tensor
    slopes: Tensor

    def centre(self, c: int, colours: Sequence[Tensor]) -> Tensor:
        """Return the centres of colour `c` where those before have the given values."""
        centre, first = self.centres[..., c, :, :, :], c * (c - 1) // 2
        for i, colour in enumerate(colours[:c]):
            centre = centre + self.slopes[..., first + i, :, :, :] * colour
        return centre

    def log_scale(self, c: int) -> Tensor:
        return self.log_scales[..., c, :, :, :]

    def in_turn(self, value: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Find each colour's value of its centre and log-scale, which the next may move with."""
        colours: list[Tensor] = []
        for c in range(self.centres.shape[-4]):
            colours.append(value(self.centre(c, colours), self.log_scale(c)))
        return torch.stack(colours, -4)

    def choose(self) -> "_Mixture":
        """Draw the component of each pixel and leave out the others."""
        noise = -torch.empty_like(self.log_weights).exponential_().log()
        chosen = (self.log_weights + noise).argmax(-3, keepdim=True)
        index = chosen.unsqueeze(-4)
        parts = (part.take_along_dim(index, -3) for part in self[1:])
        return _Mixture(self.log_weights.take_along_dim(chosen, -3), *parts)


def _log_mass(x: Tensor, centre: Tensor, log_scale: Tensor) -> Tensor:
    r"""Return the logarithm of what a logistic gives a level at `x`.

    .. math:: \sigma(a) - \sigma(b) = \sigma(a)\, \sigma(-b)\, (1 - e^{-(a - b)})

    None of the three factors needs a difference of nearly equal numbers; without a border above,
    or below, only one is left.
    """
    slope = (-log_scale).exp()
    offset = x - centre
    below = logsigmoid(slope * (offset + HALF))
    above = logsigmoid(slope * (HALF - offset))
    width = (-torch.expm1(-2 * HALF * slope)).log()
    black, white = x < HALF - 1, x > 1 - HALF
    return (
        torch.where(white, 0, below)
        + torch.where(black, 0, above)
        + torch.where(black | white, 0, width)
    )


def _clipped_mean(centre: Tensor, log_scale: Tensor) -> Tensor:
    r"""Return the mean of a logistic whose values beyond -1 and 1 are put there.

    .. math:: -1 + s \left[ \mathrm{softplus}\!\left(\tfrac{\mu + 1}{s}\right)
        - \mathrm{softplus}\!\left(\tfrac{\mu - 1}{s}\right) \right]
    """
    slope = (-log_scale).exp()
    rise = softplus(slope * (centre + 1)) - softplus(slope * (centre - 1))
    return (rise / slope - 1).clamp(-1, 1)


def _draw(centre: Tensor, log_scale: Tensor) -> Tensor:
    """Draw from logistics and round to the levels."""
    value = centre + log_scale.exp() * torch.rand_like(centre).logit()
    return ((value + 1) / (2 * HALF)).round().clamp(0, LEVELS - 1) * 2 * HALF - 1
