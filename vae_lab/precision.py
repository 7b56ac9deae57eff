"""Where half or single precision is not enough."""

import torch
from torch import Tensor

__all__ = ["at_least_single", "doubled"]


def at_least_single(tensor: Tensor) -> Tensor:
    """Return `tensor` in single precision if it is in half, else as it is.

    Sums over pixels and exponentials of log-variances need the digits; double precision stays,
    for those who check gradients.
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def doubled(tensor: Tensor) -> Tensor:
    """Return `tensor` in double precision; on the CPU if its device, Apple's, has none."""
    return tensor.cpu().double() if tensor.device.type == "mps" else tensor.double()
