"""Drawings of fitted baselines."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vae_lab import pictures
from vae_lab.contracts import Batch
from vae_lab.drawings.conditional import called
from vae_lab.pictures.names import shortened

__all__ = ["clusters", "likelihood_curve"]


def clusters(model: Any, batch: Batch, names: Sequence[str] = ()) -> Tensor:
    """Draw each cluster's decoded code, with its share of images and their commonest class."""
    found = model.cluster(batch.x)
    eye = torch.eye(model.latent_dim, device=found.device)
    captions = [f"{(found == k).float().mean():.0%}" for k in range(len(eye))]
    title = "clusters: share of images"
    if batch.has_classes:
        commonest = [_commonest(batch.y[found == k], names) for k in range(len(eye))]
        captions = [f"{name}: {share}" for name, share in zip(commonest, captions, strict=True)]
        title = "clusters: commonest class, share of images"
    return pictures.clusters(model.decode(eye), captions, title)


def _commonest(labels: Tensor, names: Sequence[str]) -> str:
    if not len(labels):
        return "-"
    k = int(labels.mode().values)
    return shortened(called(k + 1, names)[k])


def likelihood_curve(model: Any, batch: Batch) -> Tensor:
    """Draw the mean log-likelihood of the training images by iteration."""
    title = f"{type(model).__name__}: log-likelihood of the training images"
    return pictures.curve(model.log_likelihoods, "mean log p(x), nats", title)
