"""Every metric that a model's capabilities allow, each with what must be known to compare it."""

import math
from collections.abc import Callable, Mapping
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
)
from vae_lab.errors import LabError
from vae_lab.metrics import autoencoders
from vae_lab.metrics.annealed import Annealing, annealed_nll, bidirectional_gap
from vae_lab.metrics.classification import classification, have_classes
from vae_lab.metrics.clusters import clustering, code_clusters
from vae_lab.metrics.codes import (
    knn_accuracy,
    linear_probe_accuracy,
    pca_reconstruction,
    squared_error_per_image,
)
from vae_lab.metrics.conditional import from_prior
from vae_lab.metrics.hamiltonian import LEAPFROGS
from vae_lab.metrics.likelihood import active_units, elbo_terms, importance_nll
from vae_lab.metrics.measures import Measure, batches, device_of, encode, seeded

__all__ = ["annealing", "bounds", "codes", "density", "measure", "reconstructions"]

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
    """Compute all metrics that `model` is able to answer for.

    Args:
        model: Whatever fulfils some of the capabilities in `vae_lab.contracts`, in evaluation mode.
        images: What to evaluate.
        train: Loads the training images, for the metrics that learn something from them.
        samples: Importance samples for each image; 0 leaves that metric out.
        seed: Fixes the random numbers of each metric; the caller's random stream is untouched.
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
        found |= autoencoders.restorations(model, images, seed)
    # A classifier has learned from its labels; probes of its codes would ask again.
    if isinstance(model, Encodes) and not isinstance(model, Classifies):
        found |= codes(model, images, train, seed)
    if isinstance(model, Encodes) and not isinstance(model, Bounds | Classifies):
        found |= autoencoders.activations(model, images)
        found |= autoencoders.jacobians(model, images, seed)
    return _finite(found)


def _finite(found: dict[str, Measure]) -> dict[str, Measure]:
    if wrong := [key for key in found if not math.isfinite(found[key].value)]:
        raise LabError(f"{', '.join(wrong)} came out as no finite number; the model has diverged.")
    return found


def bounds(
    model: Bounds, images: Batch, samples: int, seed: int, progress: Callable[[int], object]
) -> dict[str, Measure]:
    """Measure ELBO, its terms, importance-sampled likelihood and active units."""
    with seeded(seed):
        terms = elbo_terms(_terms(model), batches(model, images))
    notes = {
        "elbo": f"lower bound on log {_p(model)} at beta = 1, posterior samples as in training",
        "reconstruction": "-log p(x|z), expected under the posterior by the same samples",
        "kl": "divergence of the posterior from the prior",
    }
    caveat = _caveat(model, images)
    found = {
        key: Measure.mean(terms[key], "nats", notes[key] + caveat) for key in notes if key in terms
    }
    if samples:
        note = f"-log {_p(model)} by importance sampling, {samples} samples an image{caveat}"
        nats = _nll(model, model.log_weights, images, samples, seed, progress)
        found["nll"] = Measure.mean(nats, "nats", note)
    if samples and isinstance(model, Conditional) and not model.classes:
        note = f"-log {_p(model)} by Monte Carlo, {samples} codes an image from the prior{caveat}"
        nats = _nll(model, from_prior(model), images, samples, seed)
        found["mc_nll"] = Measure.mean(nats, "nats", note)
    if _likelihood_is("discrete", model):
        dimensions = images.x[0].numel()
        for key in [key for key in ("elbo", "nll") if key in found]:
            found[f"{key}_bits_per_dim"] = _per_dimension(found[key], dimensions)
    if isinstance(model, Encodes) and len(images.x) > 1:
        active = active_units(encode(model, images))
        note = f"of {model.latent_dim}; variance over images of the posterior mean above 0.01"
        found["active_units"] = Measure(active, "dimensions", note)
    return found


def _p(model: Any) -> str:
    """Name the probability of which a model tells the logarithm."""
    condition = getattr(model, "condition", None)
    if condition is None:
        return "p(x)"
    return "p(x|y) of the unknown pixels alone" if condition.certain else "p(x|y)"


def _likelihood_is(trait: str, model: Any) -> bool:
    return getattr(getattr(model, "likelihood", None), trait, False)


def _per_dimension(nats: Measure, dimensions: int) -> Measure:
    """Turn the nats of images, or a bound on them, into bits of one channel of a pixel."""
    scale, error = 1 / (math.log(2) * dimensions), nats.standard_error
    note = f"of {dimensions} 8-bit values an image; {nats.note}"
    return Measure(
        abs(nats.value) * scale, "bits/dim", note, None if error is None else error * scale
    )


def _caveat(model: Any, images: Batch) -> str:
    """Say so where grey pixels meet a likelihood of binary ones."""
    if _likelihood_is("binary", model) and ((images.x > 0) & (images.x < 1)).any():
        return "; of grey pixels under a Bernoulli, so a cross-entropy and no likelihood"
    return ""


def _terms(model: Any) -> Callable[[Batch], Mapping[str, Tensor]]:
    """Return the model's own terms, or else the one-sample bound of its importance weights."""
    if hasattr(model, "terms"):
        terms: Callable[[Batch], Mapping[str, Tensor]] = model.terms
        return terms
    return lambda batch: {"elbo": model.log_weights(batch.x, 1, batch.y)[0]}


def _nll(
    model: Bounds,
    weigh: Callable[[Tensor, int, Tensor], Tensor],
    images: Batch,
    samples: int,
    seed: int,
    progress: Callable[[int], object] = lambda count: None,
) -> Tensor:
    device = device_of(model)

    # Positions are split instead of images, so that each image keeps its condition.
    def log_weights(index: Tensor, count: int) -> Tensor:
        x, y = images.x[index].to(device), images.y[index].to(device)
        return weigh(x, count, y)

    # A GPU idles between small chunks; large ones overflow a CPU's cache.
    rows = 800 if device.type == "cpu" else 8192
    with seeded(seed):
        return importance_nll(log_weights, torch.arange(len(images.x)), samples, rows, progress)


def annealing(
    model: Any, images: Batch, how: Annealing, seed: int, progress: Callable[[int], object]
) -> dict[str, Measure]:
    """Measure the likelihood without the encoder, and how far off that can be.

    Args:
        model: What fulfils `vae_lab.contracts.Generates`, in evaluation mode.
        images: What to evaluate.
        how: Chains and temperatures.
        seed: Fixes the random numbers; the caller's random stream is untouched.
        progress: Called with the number of images after each temperature, in three passes.

    Raises:
        LabError: If a number is not finite.
    """
    with seeded(seed):
        nll = annealed_nll(model, images, how, progress)
        gap = bidirectional_gap(model, images, how, progress)
    n, chains = len(nll), f"{how.chains} chains, {how.temperatures} temperatures"
    about = f"-log p(x) of the first {n} images by annealed importance sampling, {chains}"
    about += f", {LEAPFROGS} leapfrog steps{_caveat(model, images)}"
    gap_note = f"upper less lower bound on log p(x) of {n} images drawn from the model, {chains}"
    return _finite(
        {
            "ais_nll": Measure.mean(nll, "nats", about),
            "bdmc_gap": Measure.mean(gap, "nats", gap_note),
        }
    )


def density(model: Density, images: Batch) -> dict[str, Measure]:
    """Measure the likelihood of a model that knows it."""
    with torch.inference_mode():
        nats = torch.cat([model.log_prob(x, y).cpu() for x, y in batches(model, images)])
    if _likelihood_is("binary", model):
        note = f"-log {_p(model)}, exact{_caveat(model, images)}"
        return {"nll": Measure.mean(-nats, "nats", note)}
    note = f"log {_p(model)}, exact; a density of pixels as real numbers"
    return {"log_density": Measure.mean(nats, "nats", note)}


def reconstructions(model: Any, images: Batch, train: Callable[[], Batch]) -> dict[str, Measure]:
    """Measure the squared error, beside that of PCA where the code is a deterministic one."""
    with torch.inference_mode():
        errors = torch.cat(
            [
                squared_error_per_image(x.cpu(), model.decode(model.encode(x, y), y).cpu())
                for x, y in batches(model, images)
            ]
        )
    unit = "squared error"
    found = {"squared_error": Measure.mean(errors, unit, "sum over pixels, not clipped")}
    if not isinstance(model, Bounds):
        reference = train().x.cpu()
        # More components than pixels or images do not exist; fewer restore them exactly.
        k = min(model.latent_dim, len(reference), reference[0].numel())
        restored = pca_reconstruction(reference, images.x, k)
        note = f"PCA with {k} components of {len(reference)} training images, not clipped"
        pca_errors = squared_error_per_image(images.x.cpu(), restored)
        found["pca_squared_error"] = Measure.mean(pca_errors, unit, note)
    return found


def codes(
    model: Encodes, images: Batch, train: Callable[[], Batch], seed: int
) -> dict[str, Measure]:
    """Measure how well codes tell classes apart; nothing where images have no class."""
    # A train set is not loaded to say so.
    if not have_classes(images):
        return {}
    known = train()
    if len(torch.unique(known.y)) < 2:
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
    # What makes clusters of its own has had them measured.
    return found if isinstance(model, Clusters) else found | code_clusters(*data, seed)


def _tied(train_codes: Tensor) -> bool:
    """Tell whether the nearest codes are mostly equal ones, and so whichever come first."""
    some = train_codes[:1000]
    return len(torch.unique(some, dim=0)) * NEIGHBOURS < len(some)
