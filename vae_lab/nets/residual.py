"""Residual convolutional encoders and decoders."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from vae_lab.contracts import Shape
from vae_lab.errors import LabError
from vae_lab.nets.base import Decoder, Encoder, initialise
from vae_lab.nets.conv import Size
from vae_lab.nets.mlp import check_widths, make_activation

__all__ = ["ResidualDecoder", "ResidualEncoder"]


class Residual(nn.Module):
    r"""A pre-activation residual block of two convolutions.

    .. math:: x \mapsto S x + W_2 a(W_1 a(x))

    where S is the identity, or a 1 x 1 convolution if channels or size change.

    Args:
        inner: Channels of the input.
        outer: Channels of the output.
        activation: Name of an activation in torch.nn.
        down: Halve height and width, rounded up.
        up: Height and width to enlarge the output to, if any.

    References:
        He et al., Identity Mappings in Deep Residual Networks, 2016.
        https://arxiv.org/abs/1603.05027
    """

    def __init__(
        self, inner: int, outer: int, activation: str, down: bool = False, up: Size | None = None
    ) -> None:
        super().__init__()

        stride = 2 if down else 1
        # Enlarged after the convolution, which is four times cheaper.
        enlarge = [] if up is None else [nn.Upsample(up)]
        self.body = nn.Sequential(
            make_activation(activation),
            nn.Conv2d(inner, outer, 3, stride, 1),
            *enlarge,
            make_activation(activation),
            nn.Conv2d(outer, outer, 3, 1, 1),
        )
        self.shortcut = nn.Sequential()
        if down or up or inner != outer:
            # Without a bias, as the body has one.
            self.shortcut.append(nn.Conv2d(inner, outer, 1, stride, bias=False)).extend(enlarge)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inner, H, W) to (B, outer, H', W')."""
        total: Tensor = self.shortcut(x) + self.body(x)
        return total


def sizes_down(shape: Shape, times: int) -> list[Size]:
    """Return the heights and widths before, between and after halvings that round up.

    Raises:
        LabError: If the image is a single pixel before the last of them.
    """
    sizes = [shape[1:]]
    for _ in range(times):
        height, width = sizes[-1]
        sizes.append((-(-height // 2), -(-width // 2)))
    if times and max(sizes[-2]) == 1:
        raise LabError(
            f"Images of {shape[1]} x {shape[2]} cannot be halved {times} times: give the nets "
            "fewer channels."
        )
    return sizes


def initialise_residuals(blocks: Iterable[nn.Module]) -> None:
    r"""Draw the blocks' weights so that the signal keeps its size.

    Each of L residual branches is scaled by :math:`L^{-1/2}`, since their outputs add up.
    """
    residuals = [block for block in blocks if isinstance(block, Residual)]
    for block in residuals:
        initialise(block.body)
        initialise(block.shortcut)
        with torch.no_grad():
            block.body[-1].get_parameter("weight").div_(math.sqrt(len(residuals)))


class ResidualEncoder(nn.Sequential, Encoder):
    """Maps images (B, C, H, W) of any size to features (B, features) by residual blocks.

    Args:
        shape: Channels, height and width of an image.
        features: Size of the output.
        channels: Channels after each halving of the image.
        blocks: Residual blocks at each size; the first of them halves.
        hidden: Width of the linear layer between the convolutions and the output.
        activation: Name of an activation in torch.nn.

    Raises:
        LabError: If the image cannot be halved so often, a width is not positive or `activation`
            is unknown.

    References:
        Kingma et al., Improving Variational Inference with Inverse Autoregressive Flow, 2016,
        for residual nets in a VAE. https://arxiv.org/abs/1606.04934
    """

    def __init__(
        self,
        shape: Shape,
        features: int,
        channels: Sequence[int] = (16, 32, 32),
        blocks: int = 1,
        hidden: int = 450,
        activation: str = "ELU",
    ) -> None:
        check_widths(shape[0], *channels, blocks, hidden, features)
        height, width = sizes_down(shape, len(channels))[-1]
        widths = [channels[0] if channels else shape[0], *channels]
        stem = nn.Conv2d(shape[0], widths[0], 3, padding=1)
        body: list[nn.Module] = []
        for inner, outer in pairwise(widths):
            body.append(Residual(inner, outer, activation, down=True))
            body += [Residual(outer, outer, activation) for _ in range(blocks - 1)]
        flat = widths[-1] * height * width
        head = [nn.Linear(flat, hidden), make_activation(activation), nn.Linear(hidden, features)]
        super().__init__(stem, *body, make_activation(activation), nn.Flatten(), *head)

        initialise([stem])
        initialise_residuals(body)
        initialise(head)
        self.to(memory_format=torch.channels_last)


class ResidualDecoder(nn.Sequential, Decoder):
    """Maps features (B, features) to images (B, C, H, W) of any size, unbounded.

    Args:
        features: Size of the input.
        shape: Channels, height and width of an image.
        channels: Channels before each doubling of the image.
        blocks: Residual blocks at each size; the first of them doubles.
        hidden: Width of the linear layer between the input and the convolutions.
        activation: Name of an activation in torch.nn.

    Raises:
        LabError: If the image cannot be halved so often, a width is not positive or `activation`
            is unknown.
    """

    def __init__(
        self,
        features: int,
        shape: Shape,
        channels: Sequence[int] = (32, 32, 16),
        blocks: int = 1,
        hidden: int = 450,
        activation: str = "ELU",
    ) -> None:
        check_widths(features, hidden, blocks, *channels, shape[0])
        sizes = sizes_down(shape, len(channels))[::-1]
        widths = [*channels, channels[-1] if channels else shape[0]]
        small = (widths[0], *sizes[0])
        head = [nn.Linear(features, hidden), make_activation(activation)]
        head.append(nn.Linear(hidden, math.prod(small)))
        body: list[nn.Module] = []
        for (inner, outer), size in zip(pairwise(widths), sizes[1:], strict=True):
            body.append(Residual(inner, outer, activation, up=size))
            body += [Residual(outer, outer, activation) for _ in range(blocks - 1)]
        last = nn.Conv2d(widths[-1], shape[0], 3, padding=1)
        tail = [make_activation(activation), last]
        super().__init__(*head, nn.Unflatten(1, small), *body, *tail)

        initialise(head)
        initialise_residuals(body)
        initialise(tail)
        self.to(memory_format=torch.channels_last)
