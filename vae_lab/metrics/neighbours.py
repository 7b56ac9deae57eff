"""Nearest neighbours of features: precision, recall, density and coverage; and of images."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vae_lab.errors import LabError

__all__ = ["Fidelity", "fidelity", "nearest", "rows_of_distances"]

ROWS = 500
"""Distances to 10,000 others are held for so many features at once: 40 MB."""


class Fidelity(NamedTuple):
    """Fidelity and diversity of samples.

    Attributes:
        precision: Share of samples within the neighbourhood of a real image.
        recall: Share of real images within the neighbourhood of a sample.
        density: Mean number of real images' neighbourhoods that contain a sample, divided by k;
            about one if samples are like real images.
        coverage: Share of real images with a sample in their neighbourhood.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def fidelity(real: Tensor, fake: Tensor, k: int = 5) -> Fidelity:
    """Measure fidelity and diversity of samples by k-nearest-neighbour balls.

    The neighbourhood of a feature is the closed ball up to the k-th nearest other feature of its
    own set.

    Args:
        real: Features, shape (N, D).
        fake: Features, shape (M, D).
        k: Index of the neighbour that is the radius.

    Raises:
        LabError: If a set has fewer than k + 1 features.

    References:
        Kynkäänniemi et al., Improved Precision and Recall Metric, 2019.
        https://arxiv.org/abs/1904.06991
        Naeem et al., Reliable Fidelity and Diversity Metrics, 2020.
        https://arxiv.org/abs/2002.09797
    """
    if not 1 <= k < min(len(real), len(fake)):
        raise LabError(
            f"{k} neighbours need {k + 1} real images and as many samples at least; there are "
            f"{len(real)} and {len(fake)}."
        )
    reach, fake_reach = _reach(real, k), _reach(fake, k)
    holds_fake = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    held, balls = holds_fake.clone(), []
    for distances, radii in zip(
        rows_of_distances(fake, real), torch.split(fake_reach, ROWS), strict=True
    ):
        inside = distances <= reach
        balls.append(inside.sum(1))
        holds_fake |= inside.any(0)
        held |= (distances <= radii[:, None]).any(0)
    counts = torch.cat(balls).double()
    return Fidelity(
        precision=(counts > 0).double().mean().item(),
        recall=held.double().mean().item(),
        density=counts.mean().item() / k,
        coverage=holds_fake.double().mean().item(),
    )


def nearest(x: Tensor, batches: Iterable[Tensor]) -> Tensor:
    """Return the image nearest to each of `x` in Euclidean pixel distance, the same shape.

    Args:
        x: Images, shape (N, C, H, W).
        batches: Images to search, shape (B, C, H, W) each, of which one is in memory at a time.
    """
    found, least = x.clone(), x.new_full((len(x),), math.inf, dtype=torch.float64)
    for batch in batches:
        rows = rows_of_distances(x.flatten(1), batch.flatten(1))
        distances, places = torch.cat(list(rows)).min(1)
        closer = distances < least
        found[closer], least[closer] = batch[places[closer]], distances[closer]
    return found


def rows_of_distances(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Yield the Euclidean distances of x (N, D) to all of y (M, D), in blocks of rows.

    In double precision, since they are differences of large squares.
    """
    y = y.double()
    for part in torch.split(x, ROWS):
        yield torch.cdist(part.double(), y, compute_mode="use_mm_for_euclid_dist")


def _reach(features: Tensor, k: int) -> Tensor:
    """Return each feature's distance to its k-th nearest other one, plus a margin, shape (N,).

    The margin allows for rounding: another matrix product may give a slightly larger distance.
    """
    # The nearest is the feature itself. `kthvalue` would take five times as long.
    found = [d.topk(k + 1, 1, largest=False) for d in rows_of_distances(features, features)]
    return torch.cat([nearest.values[:, -1] for nearest in found]) * (1 + 1e-9)
