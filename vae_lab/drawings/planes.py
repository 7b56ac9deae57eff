"""Drawings of codes in the plane."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from vae_lab import pictures
from vae_lab.contracts import Batch
from vae_lab.errors import LabError
from vae_lab.metrics.codes import linear_probe_accuracy
from vae_lab.priors import Moved
from vae_lab.randomness import reseed

__all__ = ["beside_pca", "beside_prior", "needs_posterior", "scatter"]


def scatter(
    model: Any,
    batch: Batch,
    projection: Literal["pca", "tsne"] = "pca",
    name: str | None = None,
    names: Sequence[str] = (),
) -> Tensor:
    """Draw projected codes, coloured by label, and a named run's linear probe accuracy."""
    codes, labels = model.encode(batch.x, batch.y), _classes(batch)
    kind = type(model).__name__
    title = kind if name is None else f"{name}, {kind}\n{_probed(codes, labels)}"
    return pictures.scatter(codes, labels, names, method=projection, title=title)


def beside_pca(model: Any, batch: Batch, names: Sequence[str] = ()) -> Tensor:
    """Draw codes beside the first two principal components of the same images."""
    return pictures.beside_pca(model.encode(batch.x, batch.y), batch.x, _classes(batch), names)


def beside_prior(
    model: Any,
    batch: Batch,
    name: str | None = None,
    seed: int = 0,
    names: Sequence[str] = (),
) -> Tensor:
    """Draw samples of the prior beside samples of the images' posteriors."""
    reseed(seed)
    codes, prior = model.posterior(batch.x, batch.y).sample(1)[0], model.prior_given(batch.y)
    draws, labels = prior.sample(len(codes)), _classes(batch)
    # A prior that depends on the condition is not a single density to draw contours of.
    moved = isinstance(prior, Moved)
    device = codes.device

    def log_density(z: Tensor) -> Tensor:
        heights: Tensor = prior.log_prob(z.to(device)).detach()
        return heights.cpu()

    title = f"{type(model).__name__}, {type(model.prior).__name__}"
    return pictures.beside_prior(
        codes,
        draws,
        labels,
        labels if moved else None,
        log_density if codes.shape[1] == 2 and not moved else None,
        title if name is None else f"{name}, {title}",
        "p(z|y)" if moved else "p(z)",
        names,
    )


def needs_posterior(model: Any) -> None:
    """Refuse a model without a posterior."""
    if not hasattr(model, "posterior"):
        raise LabError(f"{type(model).__name__} has no posterior to draw codes from.")


def _classes(batch: Batch) -> Tensor | None:
    return batch.y if batch.has_classes else None


def _probed(codes: Tensor, labels: Tensor | None) -> str:
    """Return a text with a probe's accuracy on half the codes, fitted to the others."""
    half = len(codes) // 2
    if labels is None or len(torch.unique(labels[:half])) < 2:
        return ""
    accuracy = linear_probe_accuracy(codes[:half], labels[:half], codes[half:], labels[half:])
    rest = len(codes) - half
    return f"linear probe {accuracy:.3f} on {rest} codes, learned from {half} others"
