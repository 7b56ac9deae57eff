"""The norm of an encoder's Jacobian."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["EXACT", "PROBES", "autograd_norm", "differentiable"]

EXACT = 64
"""Dimensions of a code up to which a pass for each of them is affordable."""

PROBES = 10
"""Random projections of a larger code's Jacobian, for each image."""


def autograd_norm(encode: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    r"""Squared Frobenius norm of an encoder's Jacobian, by one backward pass per dimension.

    .. math:: \|J\|_F^2 = \sum_i \| \partial h_i / \partial x \|^2

    Gradients are computed even if they are switched off.

    Args:
        encode: Maps images (B, ...) to codes (B, D), each independently.
        x: Images, shape (B, ...).

    Returns:
        Shape (B,).
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        norm = x.new_zeros(len(x))
        # Codes are independent, so the gradient of their sum has a row for each image.
        for total in encode(x).sum(0):
            (row,) = torch.autograd.grad(total, x, retain_graph=True)
            norm += row.flatten(1).square().sum(1)
        return norm


def differentiable(model: nn.Module, encode: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Return whether the codes of images x (B, ...) are differentiable."""
    # A model fitted without gradients may compute outside torch, as in scikit-learn.
    if not any(p.requires_grad for p in model.parameters()):
        return False
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        code = encode(x)
        if not code.requires_grad:
            return False
        # Codes from a learned book have gradients too, which do not reach the image.
        return torch.autograd.grad(code.sum(), x, allow_unused=True)[0] is not None
