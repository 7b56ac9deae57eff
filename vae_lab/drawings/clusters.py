"""Drawings of what a baseline found."""

from typing import Any

import torch
from torch import Tensor

from vae_lab import pictures
from vae_lab.contracts import Batch

__all__ = ["clusters", "likelihood_curve"]


def clusters(model: Any, batch: Batch) -> Tensor:
    """What each cluster's code stands for, by its share of the images and their commonest class."""
    found = model.cluster(batch.x)
    eye = torch.eye(model.latent_dim, device=found.device)
    captions = [f"{(found == k).float().mean():.0%}" for k in range(len(eye))]
    title = "clusters: share of images"
    if batch.has_classes:
        captions = [f"{_commonest(batch.y[found == k])}: {c}" for k, c in enumerate(captions)]
        title = "clusters: commonest class, share of images"
    return pictures.clusters(model.decode(eye), captions, title)


def _commonest(labels: Tensor) -> str:
    return str(labels.mode().values.item()) if len(labels) else "-"


def likelihood_curve(model: Any, batch: Batch) -> Tensor:
    """The likelihood of the training images, iteration by iteration."""
    title = f"{type(model).__name__}: log-likelihood of the training images"
    return pictures.curve(model.log_likelihoods, "mean log p(x), nats", title)
