"""Parzen-window likelihood of Goodfellow et al., for comparison with the historic table only."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vae_lab.errors import LabError
from vae_lab.metrics.neighbours import rows_of_distances

__all__ = ["Parzen", "parzen", "parzen_log_prob"]


class Parzen(NamedTuple):
    """The chosen width, and log p(x) of each image in nats, shape (N,)."""

    sigma: float
    nats: Tensor


def parzen(images: Tensor, validation: Tensor, samples: Tensor) -> Parzen:
    """Estimate log p(x) by a Gaussian around each sample, its width chosen on validation images.

    Args:
        images: Images to measure, shape (N, ...).
        validation: Images that choose one of ten widths from 0.1 to 1, shape (V, ...).
        samples: Shape (S, ...).

    Raises:
        LabError: If there are no samples or no validation images.

    References:
        Goodfellow et al., Generative Adversarial Nets, 2014, table 1.
        https://arxiv.org/abs/1406.2661
        Theis et al., A note on the evaluation of generative models, 2016, on its failures.
        https://arxiv.org/abs/1511.01844
    """
    if not (len(samples) and len(validation)):
        raise LabError("A Parzen window needs samples, and validation images to choose its width.")
    widths = torch.logspace(-1, 0, 10, dtype=torch.float64)
    best = widths[parzen_log_prob(validation, samples, widths).mean(1).argmax()].view(1)
    return Parzen(best.item(), parzen_log_prob(images, samples, best)[0])


def parzen_log_prob(x: Tensor, samples: Tensor, widths: Tensor) -> Tensor:
    r"""Return the log-density of a mixture of Gaussians around samples, for each width.

    .. math:: \log \frac{1}{S} \sum_s \mathcal{N}(x; x_s, \sigma^2 I)

    Args:
        x: Points, shape (N, ...), with D numbers each.
        samples: Shape (S, ...).
        widths: Standard deviations, shape (W,).

    Returns:
        Nats in double precision, shape (W, N).
    """
    x, samples = x.flatten(1), samples.flatten(1)
    widths = widths.to(x.device, torch.float64)
    constant = math.log(len(samples)) + x.shape[1] * (widths.log() + math.log(2 * math.pi) / 2)
    parts = []
    for distances in rows_of_distances(x, samples):
        squares = distances.square_().div_(-2)
        parts.append(torch.stack([(squares / w**2).logsumexp(1) for w in widths]))
    return torch.cat(parts, 1) - constant[:, None]
