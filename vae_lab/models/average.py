"""A network that follows another one slowly."""

from collections.abc import Callable
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["averaged", "follow"]

Net = TypeVar("Net", bound=nn.Module)


def averaged(net: Net) -> Net:
    """Return a copy of a network, to be moved by `follow` and never by a gradient."""
    return deepcopy(net).requires_grad_(False)


@torch.no_grad()
def follow(
    average: nn.Module, net: nn.Module, decay: float, steps: int, inputs: Callable[[], Tensor]
) -> None:
    r"""Move an exponential moving average of weights on.

    .. math:: \bar\theta \gets d\, \bar\theta + (1 - d)\, \theta, \quad
        d = \min(\delta, \frac{1 + t}{10 + t})

    so that it soon forgets the weights that training began with.

    What normalisation knows of its inputs is noted anew of the average's own: where weights
    wander, their average is smaller than any of them, and so is what it gives.

    Args:
        average: The average, in training mode.
        net: What it follows.
        decay: :math:`\delta`.
        steps: The steps t of training, those in which `net` rested among them.
        inputs: Gives what the average is to be shown, where it notes anything.
    """
    weight = 1 - min(decay, (1 + steps) / (10 + steps))
    torch._foreach_lerp_([*average.parameters()], [*net.parameters()], weight)
    # Later the average moves so slowly that few looks are enough, at a hundredth of a step's cost.
    if (steps < 100 or steps % 10 == 0) and any(True for _ in average.buffers()):
        average(inputs())
