"""Fréchet and kernel distance between two sets of features."""

import torch
from torch import Tensor

from vae_lab.errors import LabError

__all__ = ["frechet_distance", "kernel_distance"]


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    r"""Return the squared Fréchet distance between Gaussians fitted to two sets of features.

    .. math:: \|\mu_r - \mu_f\|^2 + \mathrm{tr}(\Sigma_r + \Sigma_f)
        - 2\, \mathrm{tr} (\Sigma_r^{1/2} \Sigma_f \Sigma_r^{1/2})^{1/2}

    The matrices are symmetric, so `eigh` suffices, five times as fast as a general matrix square
    root. The distance is biased: it grows as the sets become smaller, even for equal
    distributions, so only distances of equal counts are comparable.

    Args:
        real: Features, shape (N, D).
        fake: Features, shape (M, D).

    Raises:
        LabError: If a set has no more than D features: its covariance would be singular, and the
            distance would depend mainly on the count.

    References:
        Heusel et al., GANs Trained by a Two Time-Scale Update Rule, 2017.
        https://arxiv.org/abs/1706.08500
    """
    _check(real, fake, more_than=real.shape[1])
    real, fake = real.double(), fake.double()
    shift = (real.mean(0) - fake.mean(0)).square().sum()
    covariance, other = real.T.cov(), fake.T.cov()
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=0).sqrt()  # root @ root.T is the covariance
    shared = torch.linalg.eigvalsh(root.T @ other @ root).clamp(min=0).sqrt().sum()
    # Rounding may make the distance of equal features negative.
    return float((shift + covariance.trace() + other.trace() - 2 * shared).clamp(min=0))


def kernel_distance(
    real: Tensor, fake: Tensor, subsets: int = 100, size: int = 1000, seed: int = 0
) -> Tensor:
    r"""Return the squared maximum mean discrepancy (KID) of random subsets, shape (subsets,).

    .. math:: k(x, y) = (x^T y / D + 1)^3

    Each is unbiased: for equal distributions the mean is zero, and some values are negative.

    Args:
        real: Features, shape (N, D).
        fake: Features, shape (M, D).
        subsets: Number of subsets, each drawn without replacement.
        size: Features drawn from each set per subset.
        seed: Seed of the subsets.

    Raises:
        LabError: If a set is smaller than a subset, or a subset has fewer than two features.

    References:
        Bińkowski et al., Demystifying MMD GANs, 2018. https://arxiv.org/abs/1801.01401
    """
    from torchmetrics.image.kid import poly_mmd

    if size < 2 or subsets < 1:
        raise LabError(f"Subsets are 1 at least, of 2 features; got {subsets} of {size}.")
    _check(real, fake, more_than=size - 1)
    stream = torch.Generator().manual_seed(seed)

    def some(features: Tensor) -> Tensor:
        return features[torch.randperm(len(features), generator=stream)[:size]].double()

    return torch.stack([poly_mmd(some(real), some(fake)) for _ in range(subsets)])


def _check(real: Tensor, fake: Tensor, more_than: int) -> None:
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise LabError(
            f"Features (N, D) and (M, D) are compared, not {tuple(real.shape)} and "
            f"{tuple(fake.shape)}."
        )
    if min(len(real), len(fake)) <= more_than:
        raise LabError(
            f"This distance needs more than {more_than} real images and as many samples; there "
            f"are {len(real)} and {len(fake)}."
        )
