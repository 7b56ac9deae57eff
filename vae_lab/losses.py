"""Terms of objectives as pure functions, in nats."""

import math

import torch
from torch import Tensor

__all__ = ["free_bits", "gaussian_kl", "importance_bound"]


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""Divergence of a diagonal Gaussian from the standard normal, for each dimension.

    .. math:: KL = \frac{1}{2} (\mu^2 + \sigma^2 - 1 - \log \sigma^2)

    Args:
        mean: Means, any shape.
        log_variance: Logarithms of the variances, the same shape.

    Returns:
        The divergences, the same shape.

    References:
        Kingma & Welling, Auto-Encoding Variational Bayes, 2014, appendix B.
        https://arxiv.org/abs/1312.6114
    """
    return 0.5 * torch.addcmul(log_variance.expm1() - log_variance, mean, mean)


def free_bits(kl: Tensor, minimum: float) -> Tensor:
    r"""Divergence that no longer pushes a dimension below `minimum` nats.

    .. math:: \sum_j \max(\lambda, \mathbb{E}_x KL_j)

    Args:
        kl: Divergences of shape (B, D).
        minimum: The nats granted to each dimension, on average over the batch.

    Returns:
        The same sum for every image, shape (B,).

    References:
        Kingma et al., Improving Variational Inference with Inverse Autoregressive Flow, 2016.
        https://arxiv.org/abs/1606.04934
    """
    return kl.mean(0).clamp(min=minimum).sum().expand(len(kl))


def importance_bound(log_weights: Tensor) -> Tensor:
    r"""Importance-weighted bound on the log-likelihood.

    .. math:: L_K = \log \frac{1}{K} \sum_{k=1}^K \frac{p(x, z_k)}{q(z_k | x)}

    Args:
        log_weights: Logarithms of the weights, shape (K, ...).

    Returns:
        The bound, shape (...).

    References:
        Burda et al., Importance Weighted Autoencoders, 2016. https://arxiv.org/abs/1509.00519
    """
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))
