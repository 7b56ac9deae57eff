"""A chain of layers, cut in two: what an inner layer says, and what follows from it."""

from itertools import islice

from torch import Tensor, nn

from vae_lab.errors import LabError

__all__ = ["check_layer", "from_layer", "to_layer"]


def to_layer(chain: nn.Sequential, layer: int, x: Tensor) -> Tensor:
    """Return what a layer, counted from 0, puts out for inputs x."""
    for part in islice(chain, layer + 1):
        x = part(x)
    return x


def from_layer(chain: nn.Sequential, layer: int, features: Tensor) -> Tensor:
    """Return what the chain puts out where a layer, counted from 0, put out `features`."""
    # A copy, as the next layer may be an activation that overwrites what it gets.
    x = features.clone()
    for part in islice(chain, layer + 1, None):
        x = part(x)
    return x


def check_layer(chain: nn.Module, layer: int) -> nn.Sequential:
    """Return a chain that has such a layer, which is not the last: its output is no feature.

    Raises:
        LabError: If there is no such layer, or the network is no chain of layers.
    """
    name = type(chain).__name__
    if not isinstance(chain, nn.Sequential):
        raise LabError(f"Features are those of a layer of a chain; a {name} is no nn.Sequential.")
    if not 0 <= layer < len(chain) - 1:
        known = ", ".join(f"{i} {type(part).__name__}" for i, part in enumerate(list(chain)[:-1]))
        raise LabError(f"This {name} has no layer {layer} to take features of; it has {known}.")
    return chain
