"""A network that follows another one slowly."""

from copy import deepcopy

import torch
from torch import nn

__all__ = ["averaged", "follow"]


def averaged(net: nn.Module) -> nn.Module:
    """Return a copy of a network, to be moved by `follow` and never by a gradient."""
    return deepcopy(net).requires_grad_(False)


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, decay: float, steps: int) -> None:
    r"""Move an exponential moving average on, of weights and of normalisation's statistics.

    .. math:: \bar\theta \gets d\, \bar\theta + (1 - d)\, \theta, \quad
        d = \min(\delta, \frac{1 + t}{10 + t})

    so that it soon forgets the weights that training began with.

    Args:
        average: The average.
        net: What it follows.
        decay: :math:`\delta`.
        steps: The steps t that `net` has made.
    """
    weight = 1 - min(decay, (1 + steps) / (10 + steps))
    mine, theirs = ([*m.parameters(), *m.buffers()] for m in (average, net))
    pairs = [p for p in zip(mine, theirs, strict=True) if p[0].is_floating_point()]
    torch._foreach_lerp_([a for a, _ in pairs], [b for _, b in pairs], weight)
