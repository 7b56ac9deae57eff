"""What a judge says of the samples that a model draws."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from vae_lab.errors import LabError
from vae_lab.judges import Judge, load_judge
from vae_lab.words import article

if TYPE_CHECKING:
    from torch import Tensor

    from vae_lab.contracts import Batch, Images
    from vae_lab.metrics.measures import Measure
    from vae_lab.metrics.samples import Drawn

__all__ = ["sampled"]


def sampled(
    model: Any,
    data: Images,
    split: str,
    limit: int | None,
    seed: int,
    n: int,
    judge: str | None,
    parzen: bool,
) -> tuple[dict[str, Any], dict[str, Measure]]:
    """Measure what a model samples; nothing unless `judge` or `parzen` asks for it.

    Args:
        model: In evaluation mode.
        data: What to compare samples with: the grey images, as samples are of no binarisation.
        split: Which of them.
        limit: How many of them; None for all.
        seed: Fixes the samples.
        n: How many samples.
        judge: A classifier's run folder or checkpoint, or `inception`.
        parzen: Whether to estimate the density by a Parzen window.

    Returns:
        What is to be added to the evaluation's protocol, and the measures.

    Raises:
        LabError: If the model draws no samples by itself or diverged, or the judge is none of such
            images or learned from other data.
    """
    from vae_lab.metrics.samples import draw, window

    if not (judge or parzen):
        return {}, {}
    _check_samples(model, "--judge" if judge else "--parzen")
    jury = load_judge(judge, model, data) if judge else None
    samples, grey = draw(model, n, seed), data.undrawn()
    images = grey.images(split, limit)
    found: dict[str, Measure] = {}
    if jury:
        binarize = grey.protocol(split)["binarize"]
        known = grey.images("train", n).x
        found |= _judged(model, jury, samples, images, known, seed, f"binarize {binarize}")
    if parzen:
        others = "val" if split == "test" and "val" in data.splits else "train"
        found |= window(samples, images.x, grey.images(others, 1000).x)
    return {"judge": f"{jury.name}, {n} samples"} if jury else {}, found


def _judged(
    model: Any, jury: Judge, samples: Drawn, images: Batch, known: Tensor, seed: int, about: str
) -> dict[str, Measure]:
    from vae_lab.contracts import Classifies, Conditional, Decodes, Encodes
    from vae_lab.metrics.samples import agreement, likeness, restoration, variety

    judge, n = jury.judge, len(samples.images)
    about = f"{about}, by the features of {jury.name}"
    found = likeness(judge, samples, images.x, known, seed, about)
    if isinstance(model, Encodes) and isinstance(model, Decodes):
        found |= restoration(model, judge, images, about)
    if "frechet_distance" not in found:
        print(
            f"The Fréchet distance is left out: of {judge.latent_dim} features it needs more than "
            f"{judge.latent_dim} samples and real images; there are {min(n, len(known))} and "
            f"{len(images.x)}.",
            file=sys.stderr,
        )
    if isinstance(judge, Classifies):
        by = f"judged by {jury.name}{jury.error}"
        found |= variety(judge, samples, images.x, by)
        if isinstance(model, Conditional):
            found |= agreement(model, judge, n // (model.classes or 1), seed, by)
    return found


def _check_samples(model: Any, user: str) -> None:
    """Refuse a model that draws nothing, or nothing without a condition that is no class."""
    from vae_lab.contracts import Conditional, Samples, require

    require(model, Samples, user)
    if isinstance(model, Conditional) and not model.classes:
        raise LabError(
            f"{user} needs a model of classes; this {type(model).__name__}'s condition is "
            f"{article(model.condition)}."
        )
