"""Metrics of denoising, sparse and contractive autoencoders."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vae_lab.contracts import Batch, Corrupts, Encodes
from vae_lab.losses import hutchinson_norm, sigmoid_jacobian_norm
from vae_lab.metrics.codes import squared_error_per_image
from vae_lab.metrics.jacobian import EXACT, PROBES, autograd_norm, differentiable
from vae_lab.metrics.measures import Measure, batches, encode, seeded
from vae_lab.penalties import sigmoid_layer

__all__ = ["activations", "jacobians", "restorations"]

IMAGES = 2000
"""Images at most through which gradients are taken: half a minute for a deep encoder."""

PUBLISHED = (
    "0.73e-4 (contractive) and 17.5e-4 (plain) in Rifai et al. (2011) may be normalised otherwise: "
    "our sources do not say"
)


def restorations(model: Any, images: Batch, seed: int) -> dict[str, Measure]:
    """Measure how well a denoising model restores corrupted images; nothing for other models."""
    corruption = getattr(model, "corruption", None) if isinstance(model, Corrupts) else None
    if corruption is None:
        return {}
    restored, damaged = [], []
    with torch.inference_mode(), seeded(seed):
        for x, y in batches(model, images):
            noisy = model.corrupt(x)
            output = model.decode(model.encode(noisy, y), y)
            restored.append(squared_error_per_image(x.cpu(), output.cpu()))
            damaged.append(squared_error_per_image(x.cpu(), noisy.cpu()))
    how = f"images damaged by {corruption}, against the undamaged"
    return {
        "restored_squared_error": _error(restored, f"of what is restored from {how}"),
        "corrupted_squared_error": _error(damaged, f"of {how}: what doing nothing leaves"),
    }


def _error(parts: list[Tensor], note: str) -> Measure:
    return Measure.mean(torch.cat(parts), "squared error", note)


def activations(model: Encodes, images: Batch) -> dict[str, Measure]:
    """Measure the activity of a code's units, if it is a sigmoid or a sparse code."""
    sigmoid = _sigmoid(model)
    if not sigmoid and not _penalised(model, images):
        return {}
    code = encode(model, images).float().abs()
    target = getattr(getattr(model, "penalty", None), "target", None)
    aim = "" if target is None else f"; the target in training is {target:g}"
    least = 0.05 if sigmoid else 0.0
    dead = (code <= least).all(0).float().mean().item()
    found = {
        "mean_activation": Measure.mean(code.mean(1), "|h|", f"mean over all units{aim}"),
        "dead_units": Measure(dead, "share", f"of {model.latent_dim}; never above {least:g}"),
    }
    if sigmoid:
        saturated = ((code < 0.05) | (code > 0.95)).float().mean(1)
        note = "of activations below 0.05 or above 0.95: SAT in Rifai et al. (2011)"
        found["saturated"] = Measure.mean(saturated, "share", note)
    return found


def _sigmoid(model: Any) -> bool:
    return isinstance(getattr(model, "activation", None), nn.Sigmoid)


def _penalised(model: Any, images: Batch) -> bool:
    """Return whether the objective has a penalty on the code."""
    if not hasattr(model, "terms"):
        return False
    with torch.inference_mode(), seeded(0):
        names = model.terms(next(batches(model, images, size=2))).keys()
    return bool({"activation", "penalty"} & names)


def jacobians(model: Encodes, images: Batch, seed: int) -> dict[str, Measure]:
    """Measure the encoder's Jacobian; nothing if it is not differentiable."""
    first = next(batches(model, images, size=1))
    if not isinstance(model, nn.Module) or not differentiable(model, model.encode, first.x):
        return {}
    norms, how = _norms(model, images, seed)
    entries = model.latent_dim * first.x.numel()
    note = f"||dh/dx||_F^2 / {entries} entries"
    # Published numbers are of one layer on MNIST.
    if _sigmoid_weight(model) is not None and first.x.shape[1:] == (1, 28, 28):
        note += f"; {PUBLISHED}"
    return {
        "jacobian_norm": Measure.mean(norms, "squared norm", f"||dh/dx||_F^2, {how}"),
        "jacobian_per_entry": Measure.mean(norms / entries, "squared entry", note),
    }


def _norms(model: Any, images: Batch, seed: int) -> tuple[Tensor, str]:
    """Return the squared norm per image, and how it was computed."""
    weight = _sigmoid_weight(model)
    if weight is not None:
        code = encode(model, images)
        return sigmoid_jacobian_norm(code, weight.detach().cpu()), "closed form of a sigmoid layer"
    exact = model.latent_dim <= EXACT
    norm = autograd_norm if exact else partial(hutchinson_norm, probes=PROBES)
    some = _evenly(images)
    with seeded(seed):
        parts = [norm(partial(model.encode, y=y), x).detach() for x, y in batches(model, some)]
    how = "exact" if exact else f"Hutchinson's estimate by {PROBES} probes an image"
    return torch.cat(parts).cpu(), f"{how}, by autograd on {len(some.x)} images, evenly spaced"


def _sigmoid_weight(model: Any) -> Tensor | None:
    """Return the weights of an encoder that is one sigmoid layer, else None."""
    return sigmoid_layer(model) if _sigmoid(model) and hasattr(model, "encoder") else None


def _evenly(images: Batch) -> Batch:
    """Return evenly spaced images, as the first of a set, such as MNIST's, may differ."""
    count = min(IMAGES, len(images.x))
    index = torch.linspace(0, len(images.x) - 1, count).round().long().to(images.x.device)
    return Batch(images.x[index], images.y[index.to(images.y.device)])
