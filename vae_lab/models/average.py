"""Exponential moving averages of networks."""

from collections.abc import Callable
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["averaged", "follow"]

Net = TypeVar("Net", bound=nn.Module)


def averaged(net: Net) -> Net:
    """Return a copy of a network that takes no gradient, for `follow` to update."""
    return deepcopy(net).requires_grad_(False)


@torch.no_grad()
def follow(
    average: nn.Module, net: nn.Module, decay: float, steps: int, inputs: Callable[[], Tensor]
) -> None:
    r"""Update an exponential moving average of weights.

    .. math:: \bar\theta \gets d\, \bar\theta + (1 - d)\, \theta, \quad
        d = \min(\delta, \frac{1 + t}{10 + t})

    so that it soon forgets the initial weights.

    Batch-norm statistics are not averaged but estimated from the averaged network's own
    activations: averaged weights are smaller than the weights themselves, and so are these.

    Args:
        average: The averaged network, in training mode.
        net: The network being trained.
        decay: :math:`\delta`.
        steps: Training steps t so far, including those in which `net` did not step.
        inputs: Returns inputs for updating the batch-norm statistics; called if there are any.
    """
    weight = 1 - min(decay, (1 + steps) / (10 + steps))
    torch._foreach_lerp_([*average.parameters()], [*net.parameters()], weight)
    # Later the average changes so slowly that every tenth step is enough, which saves time.
    if (steps < 100 or steps % 10 == 0) and any(True for _ in average.buffers()):
        average(inputs())
