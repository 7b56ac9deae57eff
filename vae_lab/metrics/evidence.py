"""Bounds, estimates and exact values of a model's log p(x), each with its protocol."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from vae_lab.contracts import Batch, Bounds, Conditional, Density, Diverges, Encodes
from vae_lab.likelihoods import Likelihood
from vae_lab.metrics.annealed import Annealing, annealed_nll, bidirectional_gap
from vae_lab.metrics.hamiltonian import LEAPFROGS
from vae_lab.metrics.likelihood import (
    ACTIVE,
    active_units,
    elbo_terms,
    from_prior,
    importance_nll,
)
from vae_lab.metrics.measures import Measure, batches, device_of, finite, in_batches, seeded

__all__ = ["annealing", "bounds", "density", "likelihood_kind", "passes"]


def bounds(
    model: Bounds, images: Batch, samples: int, seed: int, progress: Callable[[int], object]
) -> dict[str, Measure]:
    """Measure the ELBO, its terms, the importance-sampled likelihood and active units."""
    with seeded(seed):
        rows = _rows(model, images) // _codes(model)
        terms = elbo_terms(_terms(model), batches(model, images, min(500, max(1, rows))))
        parts = _divergences(model, images)
    notes = {
        "elbo": f"lower bound on log {_p(model)} at beta = 1, posterior samples as in training",
        "reconstruction": "-log p(x|z), expected under the posterior by the same samples",
        "kl": "divergence of the posterior from the prior",
    }
    caveat = _caveat(model, images)
    found = {
        key: Measure.mean(terms[key], "nats", notes[key] + caveat) for key in notes if key in terms
    }
    if "kl" in found:
        found["kl"] = found["kl"]._replace(parts=parts)
    if samples:
        note = f"-log {_p(model)} by importance sampling, {samples} samples an image{caveat}"
        nats = _nll(model, model.log_weights, images, samples, seed, progress)
        found["nll"] = Measure.mean(nats, "nats", note)
    if samples and _by_monte_carlo(model):
        note = f"-log {_p(model)} by Monte Carlo, {samples} codes an image from the prior{caveat}"
        nats = _nll(model, from_prior(model), images, samples, seed, progress)
        found["mc_nll"] = Measure.mean(nats, "nats", note)
    found |= _bits(model, found, images)
    if isinstance(model, Encodes) and len(images.x) > 1:
        found["active_units"] = _activity(model, images)
    return found


def passes(model: Any) -> int:
    """Return how many sampling estimates of the likelihood `bounds` computes."""
    return 1 + _by_monte_carlo(model) if isinstance(model, Bounds) else 0


def _by_monte_carlo(model: Any) -> bool:
    return isinstance(model, Conditional) and not model.classes


def annealing(
    model: Any, images: Batch, how: Annealing, seed: int, progress: Callable[[int], object]
) -> dict[str, Measure]:
    """Measure the likelihood by annealed importance sampling, with a bound on its error.

    Args:
        model: A `vae_lab.contracts.Generates` in evaluation mode.
        images: Images to evaluate.
        how: Chains and temperatures.
        seed: Seed of the random numbers; the caller's random stream is untouched.
        progress: Called with the number of chains after each move.

    Raises:
        LabError: If a number is not finite.
    """
    with seeded(seed):
        nll = annealed_nll(model, images, how, progress)
        gap = bidirectional_gap(model, images, how, progress)
    n, chains = len(nll), f"{how.chains} chains, {how.temperatures} temperatures"
    chains += ", steps found by others"
    about = f"-log {_p(model)} of the first {n} images by annealed importance sampling, {chains}"
    about += f", {LEAPFROGS} leapfrog steps{_caveat(model, images)}"
    gap_note = (
        f"upper less lower bound on log {_p(model)} of {n} images drawn from the model, {chains}"
    )
    found = {
        "ais_nll": Measure.mean(nll, "nats", about),
        "bdmc_gap": Measure.mean(gap, "nats", gap_note),
    }
    return finite(found | _bits(model, found, images))


def density(model: Density, images: Batch) -> dict[str, Measure]:
    """Measure the exact likelihood of a model that can compute it."""
    nats, caveat = in_batches(model, images, model.log_prob), _caveat(model, images)
    if _pixels(model, images) != "real numbers":
        found = {"nll": Measure.mean(-nats, "nats", f"-log {_p(model)}, exact{caveat}")}
        return found | _bits(model, found, images)
    return {"log_density": Measure.mean(nats, "nats", f"log {_p(model)}, exact{caveat}")}


def likelihood_kind(model: Any, images: Batch) -> str:
    """Name the kind of the model's likelihoods; only those of one kind are comparable."""
    return f"{_p(model)} of {_pixels(model, images)}"


def _p(model: Any) -> str:
    """Return p(x) or p(x|y), whichever the model's likelihood is."""
    condition = getattr(model, "condition", None)
    if condition is None:
        return "p(x)"
    return "p(x|y) of the unknown pixels alone" if condition.certain else "p(x|y)"


def _activity(model: Any, images: Batch) -> Measure:
    """Count the units whose mean depends on the image beyond its condition."""
    conditional, means = isinstance(model, Conditional), []
    with torch.inference_mode():
        for x, y in batches(model, images):
            mean = model.encode(x, y)
            own = model.prior_given(y).back(mean) if conditional else mean
            moved = own is not mean
            means.append(own.flatten(1).cpu())
    note = f"of {model.latent_dim}; variance over images of the posterior mean above {ACTIVE}"
    if moved:
        note += ", measured from the mean of its condition's prior in that one's deviations"
    if about := getattr(getattr(model, "family", None), "about_mean", None):
        note += f", {about}"
    return Measure(active_units(torch.cat(means)), "dimensions", note)


def _divergences(model: Any, images: Batch) -> tuple[float, ...]:
    """Return the mean divergence of each part of a code; empty if there is a single part."""
    if not isinstance(model, Diverges):
        return ()
    found = in_batches(model, images, model.divergences)
    return tuple(found.double().mean(0).tolist()) if found.shape[1] > 1 else ()


def _bits(model: Any, found: Mapping[str, Measure], images: Batch) -> dict[str, Measure]:
    """Return bounds and likelihoods of 8-bit values in bits per dimension."""
    if _pixels(model, images) != "8-bit values":
        return {}
    dimensions = images.x[0].numel()
    return {
        f"{key}_bits_per_dim": _per_dimension(found[key], dimensions)
        for key in ("elbo", "nll", "mc_nll", "ais_nll")
        if key in found
    }


def _per_dimension(nats: Measure, dimensions: int) -> Measure:
    """Convert nats per image to bits per dimension, a channel of a pixel."""
    scale, error = 1 / (math.log(2) * dimensions), nats.standard_error
    note = f"of {dimensions} 8-bit values an image; {nats.note}"
    return Measure(
        abs(nats.value) * scale, "bits/dim", note, None if error is None else error * scale
    )


def _caveat(model: Any, images: Batch) -> str:
    """Return a warning if a likelihood is not that of the stored pixels."""
    return {
        "grey pixels": "; of grey pixels under a Bernoulli, so a cross-entropy and no likelihood",
        "real numbers": "; a density of pixels as real numbers",
    }.get(_pixels(model, images), "")


def _pixels(model: Any, images: Batch) -> str:
    """Name the model's kind of pixels: real numbers, unless its likelihood is discrete."""
    likelihood = getattr(model, "likelihood", Likelihood)
    if likelihood.discrete:
        return "8-bit values"
    if not likelihood.binary:
        return "real numbers"
    grey = ((images.x > 0) & (images.x < 1)).any()
    return "grey pixels" if grey else "black and white pixels"


def _terms(model: Any) -> Callable[[Batch], Mapping[str, Tensor]]:
    """Return the model's own terms, else the one-sample bound from its importance weights."""
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
    progress: Callable[[int], object],
) -> Tensor:
    device = device_of(model)

    # Indices are split instead of images, so that each image keeps its condition.
    def log_weights(index: Tensor, count: int) -> Tensor:
        x, y = images.x[index].to(device), images.y[index].to(device)
        return weigh(x, count, y)

    rows, index = _rows(model, images), torch.arange(len(images.x))
    with seeded(seed):
        return importance_nll(log_weights, index, samples, rows, progress)


def _rows(model: Any, images: Batch) -> int:
    """Return how many codes to decode at once: fewer if outputs are larger than MNIST's."""
    numbers, likelihood = images.x[0].numel(), getattr(model, "likelihood", None)
    if likelihood is not None:
        channels = images.x.shape[1]
        numbers = numbers * likelihood.outputs(channels) // channels
    # Small chunks leave a GPU idle; large ones overflow a CPU's cache.
    rows = 1700 if device_of(model).type == "cpu" else 8192
    return max(1, min(rows, rows * 784 // numbers))


def _codes(model: Any) -> int:
    """Return how many codes per image the model's own terms decode."""
    return int(getattr(model, "samples", 1) * getattr(model, "importance_samples", 1))
