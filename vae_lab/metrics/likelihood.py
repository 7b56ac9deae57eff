"""Importance-sampled log-likelihoods, the ELBO and active units."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from vae_lab.arguments import at_least
from vae_lab.contracts import Batch
from vae_lab.errors import LabError

__all__ = ["ACTIVE", "active_units", "elbo_terms", "from_prior", "importance_nll"]

ACTIVE = 0.01
"""Variance of the posterior mean above which a dimension counts as active."""


def importance_nll(
    log_weights: Callable[[Tensor, int], Tensor],
    images: Tensor,
    samples: int,
    rows: int = 1700,
    progress: Callable[[int], object] = lambda count: None,
) -> Tensor:
    r"""Estimate -log p(x) of each image by importance sampling from the posterior.

    .. math:: -\log \frac{1}{S} \sum_{s=1}^S \frac{p(x, z_s)}{q(z_s | x)}, \quad z_s \sim q(z | x)

    The expectation is an upper bound on -log p(x) that converges to it as S grows. The decoder
    takes most of the time: small chunks have an overhead, large ones leave the cache.

    Args:
        log_weights: Maps images (B, ...) and a number n of samples to log p(x, z) - log q(z|x),
            in nats, shape (n, B).
        images: Shape (N, ...), anything that can be split along its first axis.
        samples: S, the number of samples per image.
        rows: About how many pairs of image and sample are evaluated at once.
        progress: Called with the number of images finished since the last call.

    Returns:
        Nats per image, in double precision on the CPU, shape (N,).

    Raises:
        LabError: If `samples` or `rows` is not positive, or the weights have another shape.

    References:
        Burda et al., Importance Weighted Autoencoders, 2016. https://arxiv.org/abs/1509.00519
    """
    at_least(1, samples=samples, rows=rows)
    nats = []
    with torch.inference_mode():
        for x in torch.split(images, max(1, rows // samples)):
            nats.append(-_log_mean_weight(log_weights, x, samples, rows))
            progress(len(x))
    return torch.cat(nats)


def _log_mean_weight(
    log_weights: Callable[[Tensor, int], Tensor], x: Tensor, samples: int, rows: int
) -> Tensor:
    total = torch.full((len(x),), -math.inf, dtype=torch.float64)
    parts = -(-samples // max(1, rows // len(x)))
    for count in map(len, torch.arange(samples).tensor_split(parts)):
        weights = log_weights(x, count)
        if weights.shape != (count, len(x)):
            raise LabError(
                f"{count} importance weights for each of {len(x)} images must have shape "
                f"{(count, len(x))}; the model gave {tuple(weights.shape)}."
            )
        # To the CPU first: not every accelerator has double precision.
        total = torch.logaddexp(total, weights.cpu().double().logsumexp(0))
    return total - math.log(samples)


def from_prior(model: Any) -> Callable[[Tensor, int, Tensor | None], Tensor]:
    r"""Return a function that evaluates log p(x|z, y) for codes sampled from the prior.

    .. math:: p(x | y) \approx \frac{1}{S} \sum_s p(x | z_s, y), \quad z_s \sim p(z | y)

    Args:
        model: A `vae_lab.contracts.Generates` in evaluation mode.

    Returns:
        A function of images (B, C, H, W), a number n and conditions that returns nats, shape
        (n, B).

    References:
        Sohn et al., Learning Structured Output Representation using Deep Conditional Generative
        Models, 2015, equation 6. https://papers.nips.cc/paper/5775
    """

    def log_likelihoods(x: Tensor, n: int, y: Tensor | None) -> Tensor:
        z = model.prior_given(y).sample(n * len(x)).unflatten(0, (n, len(x)))
        nats: Tensor = model.log_likelihood(x, z, y)
        return nats

    return log_likelihoods


def elbo_terms(
    terms: Callable[[Batch], Mapping[str, Tensor]], batches: Iterable[Batch]
) -> dict[str, Tensor]:
    r"""Return the evidence lower bound of each image and its two terms.

    .. math:: \mathrm{ELBO} = E_{q(z|x)} \log p(x | z) - KL(q(z | x) \| p(z))

    Args:
        terms: Maps a batch to values per image, shape (B,), in nats: `reconstruction`, which is
            -log p(x|z), and `kl`, or `elbo`; other keys are ignored.
        batches: Batches to evaluate.

    Returns:
        `elbo`, and `reconstruction` and `kl` if given, in double precision on the CPU,
        shape (N,) each.

    Raises:
        LabError: If the terms do not determine the bound.
    """
    with torch.inference_mode():
        found = [_with_elbo(terms(batch)) for batch in batches]
    return {key: torch.cat([part[key].cpu().double() for part in found]) for key in found[0]}


def _with_elbo(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    known = {key: terms[key] for key in ("elbo", "reconstruction", "kl") if key in terms}
    if "elbo" not in known and len(known) == 2:
        known["elbo"] = -(known["reconstruction"] + known["kl"])
    if "elbo" not in known:
        raise LabError(
            f"A bound needs the terms elbo, or reconstruction and kl; the model gives "
            f"{', '.join(terms) or 'none'}."
        )
    return known


def active_units(means: Tensor) -> int:
    r"""Count the latent dimensions whose posterior mean changes with the image.

    .. math:: \#\{ u : \mathrm{Var}_x (E_{q(z|x)} [z_u]) > 0.01 \}

    Args:
        means: Posterior mean of each image, shape (N, D).

    Raises:
        LabError: If there are fewer than two images.

    References:
        Burda et al., Importance Weighted Autoencoders, 2016, section 5.2.
        https://arxiv.org/abs/1509.00519
    """
    if len(means) < 2:
        raise LabError("Active units are a variance over images; give at least two.")
    return int((means.double().var(0) > ACTIVE).sum())
