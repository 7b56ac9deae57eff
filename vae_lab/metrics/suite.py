"""All metrics that a model's capabilities allow, each with its protocol."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vae_lab.contracts import (
    Batch,
    Bounds,
    Classifies,
    Clusters,
    Conditional,
    Decodes,
    Density,
    Encodes,
    Perceives,
)
from vae_lab.errors import LabError
from vae_lab.metrics import autoencoders
from vae_lab.metrics.classification import classification
from vae_lab.metrics.clusters import clustering, code_clusters
from vae_lab.metrics.codes import (
    knn_accuracy,
    linear_probe_accuracy,
    pca_reconstruction,
    restoration_errors,
    squared_error_per_image,
)
from vae_lab.metrics.evidence import bounds, density
from vae_lab.metrics.measures import Measure, encode, finite

__all__ = ["codes", "measure", "perceived", "reconstructions"]

NEIGHBOURS = 5
"""Training codes that vote on the class of another one, where there are so many."""


def measure(
    model: Any,
    images: Batch,
    train: Callable[[], Batch],
    samples: int,
    seed: int,
    progress: Callable[[int], object] = lambda count: None,
) -> dict[str, Measure]:
    """Compute all metrics that the model's capabilities allow.

    Args:
        model: A model with some capabilities of `vae_lab.contracts`, in evaluation mode.
        images: Images to evaluate.
        train: Loads the training images, for metrics that learn from them.
        samples: Importance samples per image; 0 leaves that metric out.
        seed: Seed of each metric; the caller's random stream is untouched.
        progress: Called with the number of images whose importance sampling has finished.

    Raises:
        LabError: If a metric is not a finite number.
    """
    found: dict[str, Measure] = {}
    if isinstance(model, Bounds):
        found |= bounds(model, images, samples, seed, progress)
    if isinstance(model, Density):
        found |= density(model, images)
    if isinstance(model, Classifies):
        found |= classification(model, images)
    if isinstance(model, Clusters):
        found |= clustering(model, images, train)
    if isinstance(model, Encodes) and isinstance(model, Decodes):
        found |= reconstructions(model, images, train)
        if isinstance(model, Perceives):
            found["feature_error"] = perceived(model, images)
        found |= autoencoders.restorations(model, images, seed)
    # A classifier was trained on labels, and an encoder given the class has seen the labels of
    # these very images: probes of their codes would measure nothing new.
    if isinstance(model, Encodes) and not isinstance(model, Classifies | Conditional):
        found |= codes(model, images, train, seed)
    if isinstance(model, Encodes) and not isinstance(model, Bounds | Classifies):
        found |= autoencoders.activations(model, images)
        found |= autoencoders.jacobians(model, images, seed)
    return finite(found)


def reconstructions(model: Any, images: Batch, train: Callable[[], Batch]) -> dict[str, Measure]:
    """Measure the squared error, and that of PCA if the code is deterministic."""
    errors, unit = restoration_errors(model, images), "squared error"
    found = {"squared_error": Measure.mean(errors, unit, "sum over pixels, not clipped")}
    if not isinstance(model, Bounds):
        reference = train().x.cpu()
        # There are no more components than pixels or images; that many restore images exactly.
        k = min(model.latent_dim, len(reference), reference[0].numel())
        restored = pca_reconstruction(reference, images.x, k)
        note = f"PCA with {k} components of {len(reference)} training images, not clipped"
        pca_errors = squared_error_per_image(images.x.cpu(), restored)
        found["pca_squared_error"] = Measure.mean(pca_errors, unit, note)
    return found


def perceived(model: Any, images: Batch) -> Measure:
    """Measure the error of reconstructions in the features of the model itself."""
    errors = restoration_errors(model, images, model.perceive)
    note = "sum over the features that the model itself learns by: to be compared with no other's"
    return Measure.mean(errors, "squared error", note)


def codes(
    model: Encodes, images: Batch, train: Callable[[], Batch], seed: int
) -> dict[str, Measure]:
    """Measure how well codes separate classes; nothing if images have no class."""
    # Checked before the training images are loaded.
    if not images.has_several_classes or not (known := train()).has_several_classes:
        return {}
    data = encode(model, known), known.y.cpu(), encode(model, images), images.y.cpu()
    if not (data[0].isfinite().all() and data[2].isfinite().all()):
        raise LabError("The model's codes are not all finite numbers; the model has diverged.")
    about, n = f"trained on the codes of {len(known.x)} training images", len(images.x)
    probe = linear_probe_accuracy(*data)
    found = {"linear_probe_accuracy": Measure.share(probe, n, f"logistic regression, {about}")}
    if len(known.x) >= NEIGHBOURS and not _tied(data[0]):
        knn = knn_accuracy(*data, NEIGHBOURS)
        how = f"{NEIGHBOURS} nearest neighbours, {about}"
        found["knn_accuracy"] = Measure.share(knn, n, how)
    # A model's own clusters are measured by `clustering`.
    return found if isinstance(model, Clusters) else found | code_clusters(*data, seed)


def _tied(train_codes: Tensor) -> bool:
    """Return whether most nearest codes are equal, so that their order would decide."""
    some = train_codes[:1000]
    return len(torch.unique(some, dim=0)) * NEIGHBOURS < len(some)
