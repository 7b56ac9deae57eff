"""Bernoulli likelihood of black and white pixels."""

import math
from typing import Any

import torch
from torch import Tensor

from vae_lab.likelihoods.base import Likelihood
from vae_lab.precision import at_least_single

__all__ = ["Bernoulli"]


class Bernoulli(Likelihood):
    r"""Independent Bernoulli pixels; the decoder's output is their logits o.

    .. math:: \log p(x | z) = \sum_i x_i \log \theta_i + (1 - x_i) \log (1 - \theta_i), \quad
        \theta = \sigma(o)

    For grey pixels this is a cross-entropy and not a likelihood; binarise the data if numbers are
    to be compared.
    """

    binary = True

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        self.check(output, x)
        logits = at_least_single(output)
        log_prob: Tensor = _BernoulliLogProb.apply(logits, x.to(logits.dtype))
        return log_prob

    def mean(self, output: Tensor) -> Tensor:
        return at_least_single(output).sigmoid()

    def sample(self, output: Tensor) -> Tensor:
        return self.mean(output).bernoulli()


class _BernoulliLogProb(torch.autograd.Function):
    r"""Sums :math:`x o - \log(1 + e^o)` over an image, in a fifth of torch's time on a CPU.

    With :math:`\log(1 + e^o) = \max(o, 0) - \log \sigma(|o|)`, sixteen sigmoids, each at least a
    half, are multiplied before one logarithm is taken. The gradient needs no logarithm. In single
    precision the error is about 1e-7 times the sum of :math:`|o|`: 0.001 nats at 28 x 28 and logits
    of 20, tenths of a nat at 3 x 128 x 128 and logits of 100.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(logits, x)
        flat = logits.flatten(-3)
        group = math.gcd(16, flat.shape[-1])
        sigmoids = flat.abs().sigmoid_().view(*flat.shape[:-1], group, -1)
        log_sigmoids = sigmoids.prod(-2).log_().sum(-1)
        # Autocast would compute this product in half precision, unless `out` is given.
        match = flat.new_empty(flat.shape[:-1])
        torch.linalg.vecdot(flat, x.flatten(-3).expand_as(flat), out=match)
        return match - flat.clamp(min=0).sum(-1) + log_sigmoids

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        logits, x = ctx.saved_tensors
        gradient = gradient[..., None, None, None]
        to_x = (logits * gradient).sum_to_size(x.shape) if ctx.needs_input_grad[1] else None
        return (x - logits.sigmoid()).mul_(gradient), to_x
