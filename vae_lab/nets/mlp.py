"""Fully connected encoders and decoders."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from vae_lab.contracts import Shape
from vae_lab.errors import LabError
from vae_lab.nets.base import Decoder, Encoder, initialise

__all__ = ["MLPDecoder", "MLPEncoder", "check_widths", "make_activation", "mlp"]


def make_activation(name: str) -> nn.Module:
    """Return the activation of torch.nn called `name`; `Identity` applies none.

    Raises:
        LabError: If torch.nn has none of that name, or it needs arguments or changes shapes.
    """
    try:
        room = nn if name == "Identity" else nn.modules.activation
        activation: nn.Module = getattr(room, name)()
        if activation(torch.zeros(1, 2)).shape == (1, 2):
            return activation
    except (AttributeError, TypeError, ValueError, NotImplementedError):
        pass
    raise LabError(f"torch.nn has no such activation as {name!r}; ReLU, Tanh and Sigmoid are some.")


def check_widths(*widths: int) -> None:
    """Refuse empty layers.

    Raises:
        LabError: If a width is not positive.
    """
    if min(widths) < 1:
        raise LabError(f"Every layer needs at least one unit; the widths are {list(widths)}.")


def mlp(widths: Sequence[int], activation: str) -> list[nn.Module]:
    r"""Return linear layers of the given widths, with an activation after each but the last.

    With `GLU` the hidden layers are gated, :math:`(W x + b) \cdot \sigma(V x + c)`, as are those
    of Tomczak & Welling, VAE with a VampPrior, 2018. https://arxiv.org/abs/1705.07120

    Raises:
        LabError: If a width is not positive or `activation` is unknown.
    """
    check_widths(*widths)
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        if activation == "GLU":
            # A gate takes two inputs per output.
            layers += [nn.Linear(wide, 2 * narrow), nn.GLU()]
        else:
            layers += [nn.Linear(wide, narrow), make_activation(activation)]
    return [*layers[:-2], nn.Linear(widths[-2], widths[-1])]


class MLPEncoder(nn.Sequential, Encoder):
    """Flattens images (B, C, H, W) and maps them to features (B, features).

    Args:
        shape: Channels, height and width of an image.
        features: Size of the output.
        hidden: Widths of the hidden layers, from the image inwards.
        activation: Name of an activation in torch.nn; GLU gates the hidden layers.

    Raises:
        LabError: If a width is not positive or `activation` is unknown.
    """

    def __init__(
        self,
        shape: Shape,
        features: int,
        hidden: Sequence[int] = (400,),
        activation: str = "ReLU",
    ) -> None:
        super().__init__(nn.Flatten(), *mlp([math.prod(shape), *hidden, features], activation))

        initialise(self)


class MLPDecoder(nn.Sequential, Decoder):
    """Maps features (B, features) to images (B, C, H, W), unbounded.

    Args:
        features: Size of the input.
        shape: Channels, height and width of an image.
        hidden: Widths of the hidden layers, from the code outwards.
        activation: Name of an activation in torch.nn; GLU gates the hidden layers.

    Raises:
        LabError: If a width is not positive or `activation` is unknown.
    """

    def __init__(
        self,
        features: int,
        shape: Shape,
        hidden: Sequence[int] = (400,),
        activation: str = "ReLU",
    ) -> None:
        layers = mlp([features, *hidden, math.prod(shape)], activation)
        super().__init__(*layers, nn.Unflatten(1, shape))

        initialise(self)
