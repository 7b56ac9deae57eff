"""Generators and critics for adversarial training."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from vae_lab.arguments import below_one
from vae_lab.contracts import Shape
from vae_lab.nets.base import Decoder, Encoder, Weighted, initialise
from vae_lab.nets.conv import doubling, halvings
from vae_lab.nets.mlp import check_widths

__all__ = ["ConvCritic", "ConvGenerator", "MLPCritic", "MLPGenerator"]


class MLPGenerator(nn.Sequential, Decoder):
    """Maps codes (B, features) to images (B, C, H, W), unbounded, by linear layers.

    Args:
        features: Size of the input.
        shape: Channels, height and width of an image.
        hidden: Widths of the hidden layers, from the code outwards.
        batch_norm: Use batch norm in every hidden layer but the first.

    Raises:
        LabError: If a width is not positive.
    """

    def __init__(
        self,
        features: int,
        shape: Shape,
        hidden: Sequence[int] = (128, 256, 512, 1024),
        batch_norm: bool = True,
    ) -> None:
        check_widths(features, *hidden, *shape)
        layers: list[nn.Module] = []
        for i, (inner, outer) in enumerate(pairwise([features, *hidden])):
            normal = nn.BatchNorm1d if batch_norm and i else None
            layers += _layer(nn.Linear(inner, outer, bias=not normal), normal, outer)
        last = [nn.Linear([features, *hidden][-1], math.prod(shape)), nn.Unflatten(1, shape)]
        super().__init__(*layers, *last)

        _initialise(self, batch_norm)


class MLPCritic(nn.Sequential, Encoder):
    """Flattens images (B, C, H, W) and maps them to features (B, features).

    Args:
        shape: Channels, height and width of an image.
        features: Size of the output.
        hidden: Widths of the hidden layers, from the image inwards.
        dropout: Dropout rate of the hidden layers.

    Raises:
        LabError: If a width is not positive or the dropout rate out of range.
    """

    def __init__(
        self,
        shape: Shape,
        features: int,
        hidden: Sequence[int] = (512, 256),
        dropout: float = 0.0,
    ) -> None:
        widths = [math.prod(shape), *hidden]
        check_widths(*widths, features)
        below_one(dropout=dropout)
        layers: list[nn.Module] = [nn.Flatten()]
        for inner, outer in pairwise(widths):
            layers += _layer(nn.Linear(inner, outer))
            layers += [nn.Dropout(dropout)] if dropout else []
        super().__init__(*layers, nn.Linear(widths[-1], features))

        initialise(self)


class ConvGenerator(nn.Sequential, Decoder):
    """Maps codes (B, features) to images (B, C, H, W), unbounded, by transposed convolutions.

    Args:
        features: Size of the input.
        shape: Channels, height and width of an image.
        channels: Channels before each transposed convolution; each doubles the image.
        linear: Widths of linear layers between the code and the convolutions.

    Raises:
        LabError: If the image is too small for so many convolutions or a width is not positive.

    References:
        Radford et al., Unsupervised Representation Learning with Deep Convolutional Generative
        Adversarial Networks, 2016. https://arxiv.org/abs/1511.06434
    """

    def __init__(
        self,
        features: int,
        shape: Shape,
        channels: Sequence[int] = (64, 32),
        linear: Sequence[int] = (),
    ) -> None:
        check_widths(features, *linear, *channels, shape[0])
        sizes = halvings(shape, len(channels))[::-1]
        widths = [*channels, shape[0]]
        small = (widths[0], *sizes[0])
        layers: list[nn.Module] = []
        for inner, outer in pairwise([features, *linear]):
            layers += _layer(nn.Linear(inner, outer, bias=False), nn.BatchNorm1d, outer, slope=0.0)
        layers += [nn.Linear([features, *linear][-1], math.prod(small)), nn.Unflatten(1, small)]
        for (inner, outer), sides in zip(pairwise(widths), pairwise(sizes), strict=True):
            layers += [nn.BatchNorm2d(inner), nn.ReLU(inplace=True)]
            layers.append(doubling(inner, outer, *sides))
        super().__init__(*layers)

        _initialise(self)
        self.to(memory_format=torch.channels_last)


class ConvCritic(nn.Sequential, Encoder):
    """Halves images (B, C, H, W) by convolutions and maps them to features (B, features).

    Args:
        shape: Channels, height and width of an image.
        features: Size of the output.
        channels: Channels after each convolution; each halves the image.
        linear: Widths of linear layers between the convolutions and the output.
        batch_norm: Use batch norm in every layer but the first. Penalties on the critic's gradient,
            which is that of each image by itself, do not allow it.
        slope: Negative slope of the LeakyReLU activation.

    Raises:
        LabError: If the image is too small for so many convolutions, a width is not positive or
            the slope out of range.

    References:
        Radford et al., Unsupervised Representation Learning with Deep Convolutional Generative
        Adversarial Networks, 2016. https://arxiv.org/abs/1511.06434
    """

    def __init__(
        self,
        shape: Shape,
        features: int,
        channels: Sequence[int] = (32, 64),
        linear: Sequence[int] = (),
        batch_norm: bool = True,
        slope: float = 0.2,
    ) -> None:
        check_widths(shape[0], *channels, *linear, features)
        below_one(slope=slope)
        height, width = halvings(shape, len(channels))[-1]
        layers: list[nn.Module] = []
        for i, (inner, outer) in enumerate(pairwise([shape[0], *channels])):
            normal = nn.BatchNorm2d if batch_norm and i else None
            convolution = nn.Conv2d(inner, outer, 4, 2, 1, bias=not normal)
            layers += _layer(convolution, normal, outer, slope)
        layers.append(nn.Flatten())
        flat = [[shape[0], *channels][-1] * height * width, *linear]
        for inner, outer in pairwise(flat):
            layer = nn.Linear(inner, outer, bias=not batch_norm)
            layers += _layer(layer, nn.BatchNorm1d if batch_norm else None, outer, slope)
        super().__init__(*layers, nn.Linear(flat[-1], features))

        _initialise(self, batch_norm)
        self.to(memory_format=torch.channels_last)


def _initialise(layers: nn.Sequential, batch_norm: bool = True) -> None:
    """Draw the small weights of Radford et al. where batch norm makes up for their size."""
    if not batch_norm:
        initialise(layers)
        return
    for layer in layers:
        if isinstance(layer, Weighted):
            nn.init.normal_(layer.weight, 0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _layer(
    weighted: nn.Module,
    normal: type[nn.Module] | None = None,
    width: int = 0,
    slope: float = 0.2,
) -> list[nn.Module]:
    """Return a layer, its batch norm, if any, and its activation."""
    activation = nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)
    return [weighted, *([] if normal is None else [normal(width)]), activation]
