"""Run a chain of layers up to an inner layer, or from there on."""

from itertools import islice

from torch import Tensor, nn

from vae_lab.errors import LabError
from vae_lab.words import article

__all__ = ["check_layer", "from_layer", "to_layer"]


def to_layer(chain: nn.Sequential, layer: int, x: Tensor) -> Tensor:
    """Return the output of a layer, counted from 0, for inputs x."""
    for part in islice(chain, layer + 1):
        x = part(x)
    return x


def from_layer(chain: nn.Sequential, layer: int, features: Tensor) -> Tensor:
    """Return the chain's output, given the output `features` of a layer, counted from 0."""
    # A copy, as the next layer may be an in-place activation.
    x = features.clone()
    for part in islice(chain, layer + 1, None):
        x = part(x)
    return x


def check_layer(chain: nn.Module, layer: int) -> nn.Sequential:
    """Return a network as a chain with such a layer; the last one gives no features.

    Raises:
        LabError: If there is no such layer, or the network is not a chain of layers.
    """
    name = type(chain).__name__
    if not isinstance(chain, nn.Sequential):
        raise LabError(
            f"Features are those of a layer of a chain; {article(name)} is no nn.Sequential."
        )
    if not 0 <= layer < len(chain) - 1:
        known = ", ".join(f"{i} {type(part).__name__}" for i, part in enumerate(list(chain)[:-1]))
        raise LabError(f"This {name} has no layer {layer} to take features of; it has {known}.")
    return chain
