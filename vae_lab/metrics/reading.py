"""Meaning of an InfoGAN's codes, predicted from real and from generated images."""

import math
from typing import Any

import torch
from torch import Tensor

from vae_lab.contracts import Batch
from vae_lab.metrics.clusters import cluster_accuracy
from vae_lab.metrics.measures import Measure, batches, seeded
from vae_lab.metrics.strokes import correlations

__all__ = ["code_errors", "code_meanings"]

SAMPLES = 5000
"""Images of its own that a model reads."""


def code_errors(model: Any, images: Batch, known: Batch, what: str = "val") -> dict[str, Measure]:
    """Measure each categorical code as a classifier; nothing if images have no class.

    Args:
        model: A `vae_lab.contracts.ReadsCodes` in evaluation mode.
        images: Images to classify.
        known: Other images, whose labels assign a class to each value of a code.
        what: The split of `known`.
    """
    if not images.has_classes or not known.has_several_classes:
        return {}
    found = {}
    read, learned = _read(model, images), _read(model, known)
    for name, code in model.codes.items():
        if code.categorical:
            values, others = (said[name].argmax(1) for said in (read, learned))
            right = cluster_accuracy(others, known.y.cpu(), values, images.y.cpu())
            note = f"each value of {name} given one class by the Hungarian method on "
            note += f"{len(known.x)} {what} images"
            found[f"{name}_error"] = Measure.share(1 - right, len(images.x), note)
    return found


def code_meanings(model: Any, seed: int) -> dict[str, Measure]:
    """Measure how well codes are recovered from samples, and how continuous ones change strokes.

    Strokes are measured on grey images only.

    Args:
        model: A `vae_lab.contracts.ReadsCodes` in evaluation mode.
        seed: Seed of the samples; the caller's random stream is untouched.
    """
    with seeded(seed), torch.inference_mode():
        z = model.draw_codes(SAMPLES)
        x = torch.cat([model.decode(part).cpu() for part in z.split(500)])
    drawn = {name: z[:, place].cpu() for name, place in model.places.items()}
    said = _read(model, Batch.unlabelled(x))
    chosen = [drawn[name].argmax(1) for name, code in model.codes.items() if code.categorical]
    groups = torch.stack([torch.zeros(len(x), dtype=torch.long), *chosen], 1)
    found: dict[str, Measure] = {}
    for name, code in model.codes.items():
        found[f"{name}_information"] = _information(code, said[name], drawn[name])
        if not code.categorical and x.shape[1] == 1:
            for what, value in correlations(drawn[name][:, 0], groups, x).items():
                note = f"of {name} and {what} in {SAMPLES} samples, within each category"
                found[f"{name}_{what}"] = Measure(value, "correlation", note)
    return found


def _information(code: Any, said: Tensor, drawn: Tensor) -> Measure:
    """Return a lower bound on the mutual information of a code and the image, in nats."""
    note = f"lower bound on the mutual information with {SAMPLES} samples"
    if code.categorical:
        note += f", at most {code.entropy:.3f}"
        return Measure.mean(code.entropy + code.log_prob(said, drawn), "nats", note)
    # The tightest bound by a Gaussian has the variance of the errors.
    variance = float((said - drawn).square().mean())
    nats = code.entropy - 0.5 * math.log(2 * math.pi * math.e * max(variance, 1e-12))
    return Measure(nats, "nats", f"{note}, by a Gaussian of the errors' variance")


def _read(model: Any, images: Batch) -> dict[str, Tensor]:
    with torch.inference_mode():
        parts = [model.read(x) for x, _ in batches(model, images)]
    return {name: torch.cat([part[name].float().cpu() for part in parts]) for name in parts[0]}
