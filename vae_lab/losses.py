"""Terms of objectives as pure functions, in nats."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vae_lab.precision import at_least_single

__all__ = [
    "bernoulli_kl",
    "capacity",
    "categorical_kl",
    "free_bits",
    "gaussian_kl",
    "hutchinson_norm",
    "importance_bound",
    "keep_largest",
    "sigmoid_jacobian_norm",
    "squared_distance",
    "total_correlation",
]


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""KL divergence of a diagonal Gaussian from the standard normal, for each dimension.

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


def categorical_kl(logits: Tensor) -> Tensor:
    r"""KL divergence of a categorical distribution from the uniform one.

    .. math:: KL = \log K + \sum_k \pi_k \log \pi_k

    Args:
        logits: Unnormalised log-probabilities of K classes, shape (..., K).

    Returns:
        The divergences, shape (...).
    """
    log_probs = logits.log_softmax(-1)
    return math.log(logits.shape[-1]) + (log_probs.exp() * log_probs).sum(-1)


def free_bits(kl: Tensor, minimum: float) -> Tensor:
    r"""KL divergence with free bits: no gradient on dimensions below `minimum` nats.

    .. math:: \sum_j \max(\lambda, \mathbb{E}_x KL_j)

    Args:
        kl: Divergences of shape (B, D).
        minimum: Free nats per dimension, compared with the mean over the batch.

    Returns:
        The same sum for every image, shape (B,).

    References:
        Kingma et al., Improving Variational Inference with Inverse Autoregressive Flow, 2016.
        https://arxiv.org/abs/1606.04934
    """
    return kl.mean(0).clamp(min=minimum).sum().expand(len(kl))


def capacity(kl: Tensor, nats: float) -> Tensor:
    r"""Distance of the mean KL divergence over the batch from a target in nats.

    .. math:: |\mathbb{E}_x KL - C|

    Args:
        kl: Divergences of shape (B, D).
        nats: C.

    Returns:
        The same distance for every image, shape (B,).

    References:
        Burgess et al., Understanding Disentangling in beta-VAE, 2018.
        https://arxiv.org/abs/1804.03599
    """
    return (kl.sum(1).mean() - nats).abs().expand(len(kl))


def total_correlation(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""Total correlation of the dimensions of codes, estimated within a batch.

    .. math:: TC = \mathbb{E}_{q(z)} \Big[ \log q(z) - \sum_j \log q(z_j) \Big], \quad
        q(z) \approx \frac{1}{B} \sum_{b=1}^B q(z | x_b)

    Chen et al. divide by B times the number N of all images, which shifts the estimate by
    (D - 1) log N and does not change the gradient; without it the estimate converges to the total
    correlation as the batch grows. Small batches overestimate it by nats if the code has many
    dimensions, so only estimates from equal batches are comparable.

    Args:
        z: Codes drawn from the posteriors, one or more per image, shape (..., B, D).
        mean: Means of the Gaussian posteriors, shape (B, D).
        log_variance: Their log-variances, shape (B, D).

    Returns:
        The integrand for each code, shape (..., B); the total correlation is its mean.

    References:
        Chen et al., Isolating Sources of Disentanglement in VAEs, 2018.
        https://arxiv.org/abs/1802.04942
    """
    square = (z.unsqueeze(-2) - mean).square() * (-log_variance).exp()
    log_probs = -0.5 * (square + log_variance + math.log(2 * math.pi))
    joint = log_probs.sum(-1).logsumexp(-1)
    marginals = log_probs.logsumexp(-2).sum(-1)
    return joint - marginals + (z.shape[-1] - 1) * math.log(len(mean))


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


def squared_distance(x: Tensor, other: Tensor) -> Tensor:
    """Return the squared distances of x (B, ...), images or features, to others, shape (B,)."""
    return (at_least_single(x) - at_least_single(other)).square().flatten(1).sum(1)


def bernoulli_kl(target: float, mean: Tensor) -> Tensor:
    r"""KL divergence of Bernoulli distributions with mean rho from those with the given means.

    .. math:: KL = \rho \log \frac{\rho}{\hat\rho} + (1 - \rho) \log \frac{1 - \rho}{1 - \hat\rho}

    Args:
        target: The mean :math:`\rho`, strictly between 0 and 1.
        mean: The means :math:`\hat\rho`, in [0, 1], any shape.

    Returns:
        The divergences, the same shape.
    """
    # A sigmoid rounded to 0 or 1 would give an infinite loss without a gradient.
    mean = mean.clamp(1e-6, 1 - 1e-6)
    entropy = target * math.log(target) + (1 - target) * math.log1p(-target)
    return entropy - target * mean.log() - (1 - target) * torch.log1p(-mean)


def sigmoid_jacobian_norm(code: Tensor, weight: Tensor) -> Tensor:
    r"""Squared Frobenius norm of the Jacobian of one sigmoid layer :math:`h = \sigma(W x + b)`.

    .. math:: \|J\|_F^2 = \sum_i (h_i (1 - h_i))^2 \sum_j W_{ij}^2

    Args:
        code: The layer's output, shape (B, D).
        weight: The layer's weights W, shape (D, N).

    Returns:
        Shape (B,).

    References:
        Rifai et al., Contractive Auto-Encoders, 2011.
        https://icml.cc/2011/papers/455_icmlpaper.pdf
    """
    # Not a matrix product, which mixed precision would compute in half precision.
    return ((code * (1 - code)).square() * weight.square().sum(1)).sum(1)


def hutchinson_norm(encode: Callable[[Tensor], Tensor], x: Tensor, probes: int = 1) -> Tensor:
    r"""Unbiased estimate of the squared Frobenius norm of an encoder's Jacobian.

    .. math:: \|J\|_F^2 = \mathbb{E}_v \|v^\top J\|^2, \quad v_i = \pm 1

    It is differentiable. Gradients are computed even if they are switched off, as in validation.

    Args:
        encode: Maps images (B, ...) to codes (B, D), each independently.
        x: Images, shape (B, ...).
        probes: Number of random projections to average, from the global random stream.

    Returns:
        Shape (B,).

    References:
        Hutchinson, A Stochastic Estimator of the Trace of the Influence Matrix, 1989.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        code = encode(x)
        norms = []
        for _ in range(probes):
            signs = torch.randint_like(code, 2) * 2 - 1
            (projected,) = torch.autograd.grad(code, x, signs, create_graph=True)
            norms.append(projected.flatten(1).square().sum(1))
        return torch.stack(norms).mean(0)


def keep_largest(code: Tensor, k: int) -> Tensor:
    """Set all but the `k` largest units of each code to zero.

    Args:
        code: Codes, shape (B, D).
        k: Number of units to keep, at most D.

    References:
        Makhzani & Frey, k-Sparse Autoencoders, 2014. https://arxiv.org/abs/1312.5663
    """
    largest = code.topk(k, dim=1)
    return torch.zeros_like(code).scatter(1, largest.indices, largest.values)
