"""Where half precision is not enough."""

import torch
from torch import Tensor

__all__ = ["at_least_single"]


def at_least_single(tensor: Tensor) -> Tensor:
    """Return `tensor` in single precision if it is in half, else as it is.

    Sums over pixels and exponentials of log-variances need the digits; double precision stays,
    for those who check gradients.
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
