"""Likelihood of 8-bit values: mixtures of discretised logistic distributions."""

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
# Half the distance between two levels, with pixels scaled to [-1, 1].
HALF = 1 / (LEVELS - 1)
# Scales from a ninth of a level, below which only rounding is fitted, to a flat distribution.
LOG_SCALE_BOUND = 7.0


class DiscretizedLogisticMixture(Likelihood):
    r"""Mixture of logistics, discretised to 8 bits; the channels of a pixel share a component.

    .. math::
        p(x | z) = \prod_i \sum_k \pi_{ik} \prod_c
        \left[ \sigma\!\left(\tfrac{x_{ic} + h - \mu_{ick}}{s_{ick}}\right)
        - \sigma\!\left(\tfrac{x_{ic} - h - \mu_{ick}}{s_{ick}}\right) \right]

    with h half the distance between two levels; levels 0 and 255 include the tails. The mean
    :math:`\mu` of green depends linearly on the image's red, that of blue on red and green, with
    coefficients in (-1, 1) that are part of the decoder's output. Pixels are rounded to the nearest
    level. As a probability of 8-bit values, it can be given in bits/dim.

    Args:
        components: Number of logistics per pixel.

    Raises:
        LabError: If `components` is below 1.

    References:
        Salimans et al., PixelCNN++, 2017. https://arxiv.org/abs/1701.05517
    """

    discrete = True

    def __init__(self, components: int = 10) -> None:
        super().__init__()

        at_least(1, components=components)
        self.components = components

    def outputs(self, channels: int) -> int:
        """Return the number of weights, means, scales and coefficients, times the components."""
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

        A channel's mean is computed from the means of the channels before it, which is exact as
        long as their logistics are not clipped at black or white.
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
        # Solves outputs(C) = components * kinds for the number of channels C.
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
    """Logistics of C channels, with pixels scaled to [-1, 1].

    Attributes:
        log_weights: Shape (..., K, H, W).
        centres: Means without the terms of other channels, shape (..., C, K, H, W).
        log_scales: Shape (..., C, K, H, W).
        slopes: Coefficients of the channels before each, shape (..., C (C - 1) / 2, K, H, W).
    """

    log_weights: Tensor
    centres: Tensor
    log_scales: Tensor
    slopes: Tensor

    def centre(self, c: int, colours: Sequence[Tensor]) -> Tensor:
        """Return the means of channel `c`, given the values of the channels before it."""
        centre, first = self.centres[..., c, :, :, :], c * (c - 1) // 2
        for i, colour in enumerate(colours[:c]):
            centre = centre + self.slopes[..., first + i, :, :, :] * colour
        return centre

    def log_scale(self, c: int) -> Tensor:
        return self.log_scales[..., c, :, :, :]

    def in_turn(self, value: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Compute each channel's value from its mean and log-scale, one channel after another."""
        colours: list[Tensor] = []
        for c in range(self.centres.shape[-4]):
            colours.append(value(self.centre(c, colours), self.log_scale(c)))
        return torch.stack(colours, -4)

    def choose(self) -> "_Mixture":
        """Sample one component per pixel, and drop the others."""
        noise = -torch.empty_like(self.log_weights).exponential_().log()
        chosen = (self.log_weights + noise).argmax(-3, keepdim=True)
        index = chosen.unsqueeze(-4)
        parts = (part.take_along_dim(index, -3) for part in self[1:])
        return _Mixture(self.log_weights.take_along_dim(chosen, -3), *parts)


def _log_mass(x: Tensor, centre: Tensor, log_scale: Tensor) -> Tensor:
    r"""Return the log-probability of the level `x` under a logistic.

    .. math:: \sigma(a) - \sigma(b) = \sigma(a)\, \sigma(-b)\, (1 - e^{-(a - b)})

    No factor is a difference of nearly equal numbers. The levels 0 and 255, which include a tail,
    have one factor only.
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
    r"""Return the mean of a logistic clipped to [-1, 1].

    .. math:: -1 + s \left[ \mathrm{softplus}\!\left(\tfrac{\mu + 1}{s}\right)
        - \mathrm{softplus}\!\left(\tfrac{\mu - 1}{s}\right) \right]
    """
    slope = (-log_scale).exp()
    rise = softplus(slope * (centre + 1)) - softplus(slope * (centre - 1))
    return (rise / slope - 1).clamp(-1, 1)


def _draw(centre: Tensor, log_scale: Tensor) -> Tensor:
    """Sample logistics, and round to levels."""
    value = centre + log_scale.exp() * torch.rand_like(centre).logit()
    return ((value + 1) / (2 * HALF)).round().clamp(0, LEVELS - 1) * 2 * HALF - 1
