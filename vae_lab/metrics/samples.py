"""Fidelity and diversity of samples in the features and classes of a judge."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vae_lab.contracts import Batch, Classifies, Conditional, Density, Encodes, Samples
from vae_lab.errors import LabError
from vae_lab.metrics.codes import restoration_errors
from vae_lab.metrics.distances import frechet_distance, kernel_distance
from vae_lab.metrics.measures import Measure, device_of, encode, in_batches, seeded
from vae_lab.metrics.modes import modes
from vae_lab.metrics.neighbours import fidelity
from vae_lab.metrics.parzen import parzen

__all__ = ["Drawn", "agreement", "draw", "likeness", "restoration", "variety", "window"]

NEIGHBOURS = 5
SUBSET = 1000


class Drawn(NamedTuple):
    """Samples (N, C, H, W), and their name in notes."""

    images: Tensor
    name: str


def draw(model: Samples, n: int, seed: int) -> Drawn:
    """Draw `n` images, rounded to 8 bits as real ones are, on the CPU.

    Args:
        model: In evaluation mode.
        n: Number of samples.
        seed: Seed of the samples; the caller's random stream is untouched.

    Raises:
        LabError: If a pixel is not finite.
    """
    with torch.inference_mode(), seeded(seed):
        images = torch.cat([model.sample(min(500, n - i)).cpu() for i in range(0, n, 500)])
    if not images.isfinite().all():
        raise LabError("The samples are not all finite numbers; the model has diverged.")
    # A model with a likelihood could also sample pixel noise; these are means without it.
    noisy = hasattr(model, "likelihood") or isinstance(model, Density)
    means = " (means given codes)" if noisy else ""
    # The data's classes may be distributed otherwise.
    evenly = isinstance(model, Conditional) and model.classes
    name = f"samples{means}{', classes drawn evenly' if evenly else ''}"
    return Drawn(images.float().mul(255).round().clamp(0, 255) / 255, name)


def likeness(
    judge: Encodes, samples: Drawn, real: Tensor, known: Tensor, seed: int, about: str
) -> dict[str, Measure]:
    """Measure distances of samples to real images, and of training images as a reference.

    The reference, `real_...`, has training images in the place of the samples; no generator can be
    expected to do better. Metrics that need more images than there are are left out.

    Args:
        judge: Provides the features, in evaluation mode.
        samples: N samples of the model, of which as many as `known` are compared.
        real: Images to compare with, shape (M, C, H, W).
        known: Training images, shape (K, C, H, W), K at most N.
        seed: Seed of the kernel distance's subsets.
        about: Preparation of the images, and the judge, for the notes.
    """
    features = encode(judge, Batch.unlabelled(real))

    def compared(images: Tensor, name: str) -> dict[str, Measure]:
        note = f"{len(images)} {name} against {len(real)} images, {about}"
        return _compare(features, encode(judge, Batch.unlabelled(images)), seed, note)

    drawn = compared(samples.images[: len(known)], samples.name)
    floor = compared(known, "training images")
    pairs = (("", drawn), ("real_", floor))
    return {prefix + key: found[key] for key in drawn for prefix, found in pairs}


def _compare(real: Tensor, fake: Tensor, seed: int, about: str) -> dict[str, Measure]:
    found, count = {}, min(len(real), len(fake))
    if count > real.shape[1]:
        value = frechet_distance(real, fake)
        found["frechet_distance"] = Measure(value, "squared distance", about)
    # Subsets of all images would be equal, with no spread.
    if (size := min(SUBSET, count // 2)) > 1:
        values = kernel_distance(real, fake, size=size, seed=seed)
        note = f"mean of {len(values)} subsets of {size}, spread "
        note += f"{values.std():.2g}; {about}"
        found["kernel_distance"] = Measure(values.mean().item(), "squared MMD", note)
    if count > NEIGHBOURS:
        for key, value in fidelity(real, fake, NEIGHBOURS)._asdict().items():
            unit = "balls" if key == "density" else "share"
            found[key] = Measure(value, unit, f"k = {NEIGHBOURS}; {about}")
    return found


def restoration(model: Any, judge: Encodes, images: Batch, about: str) -> dict[str, Measure]:
    """Measure the error of reconstructions in a judge's features, the same for all models.

    Args:
        model: A model that encodes and decodes, in evaluation mode.
        judge: Provides the features, in evaluation mode.
        images: Images to reconstruct.
        about: Preparation of the images, and the judge, for the note.
    """
    errors = restoration_errors(model, images, judge.encode)
    note = f"sum over {judge.latent_dim} features, {about}"
    return {"judge_feature_error": Measure.mean(errors, "squared distance", note)}


def variety(judge: Classifies, samples: Drawn, real: Tensor, about: str) -> dict[str, Measure]:
    """Measure coverage and entropy of the samples' classes, with the entropy of real images.

    Args:
        judge: The classifier, in evaluation mode.
        samples: Samples of the model.
        real: Real images, shape (M, C, H, W).
        about: The judge, for the notes.
    """
    labels, classes = _classes(judge, samples.images)
    drawn, there = modes(labels, classes), modes(_classes(judge, real)[0], classes)
    of = f"of {len(labels)} {samples.name}, {about}"
    covered = f"of {classes}, each a tenth as often as an even share {of}"
    entropy = f"{of}; real images: {there.entropy:.3f}, even shares: {math.log(classes):.3f}"
    return {
        "classes_covered": Measure(drawn.covered, "classes", covered),
        "class_entropy": Measure(drawn.entropy, "nats", entropy),
    }


def _classes(judge: Classifies, images: Tensor) -> tuple[Tensor, int]:
    log_probs = in_batches(judge, Batch.unlabelled(images), lambda x, _: judge.log_probs(x))
    return log_probs.argmax(1), log_probs.shape[1]


def agreement(model: Any, judge: Classifies, n: int, seed: int, about: str) -> dict[str, Measure]:
    """Measure how often a classifier agrees with the class that a sample was drawn for.

    Args:
        model: A model that samples given a class, in evaluation mode.
        judge: The classifier, in evaluation mode, on the model's device.
        n: Number of samples per class.
        seed: Seed of the codes; the caller's random stream is untouched.
        about: The judge, for the notes.

    Raises:
        LabError: If `n` is below 1, or the classifier has fewer classes than the model.
    """
    if n < 1:
        raise LabError(f"A judge needs at least one image of each class, not {n}.")
    shares = []
    with torch.inference_mode(), seeded(seed):
        for k in range(model.classes):
            y = torch.full((n,), k, device=device_of(model))
            parts = [judge.log_probs(model.sample(len(part), part)) for part in torch.split(y, 500)]
            log_probs = torch.cat(parts)
            if log_probs.shape[1] < model.classes:
                raise LabError(
                    f"The judge tells {log_probs.shape[1]} classes apart, the model draws "
                    f"{model.classes}."
                )
            shares.append((log_probs.argmax(1) == y).sum().item() / n)
    least = min(shares)
    note = f"of {n} images a class, means given codes from the prior, taken for it; {about}"
    worst = f"class {shares.index(least)}, the least share {note}"
    return {
        "label_agreement": Measure.share(sum(shares) / len(shares), n * len(shares), note),
        "least_label_agreement": Measure.share(least, n, worst),
    }


def window(samples: Drawn, real: Tensor, validation: Tensor) -> dict[str, Measure]:
    """Measure the Parzen-window likelihood, see `parzen`.

    Args:
        samples: Samples of the model.
        real: Images to measure, shape (M, C, H, W).
        validation: Images that choose the window's width, shape (V, C, H, W).
    """
    sigma, nats = parzen(real, validation, samples.images)
    note = f"log p(x) by a Parzen window around {len(samples.images)} {samples.name}, sigma "
    note += f"{sigma:.3f} by {len(validation)} other images; for the historic table alone, as it "
    note += "ranks models wrongly"
    return {"parzen_log_density": Measure.mean(nats, "nats", note)}
