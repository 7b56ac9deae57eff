"""Attribute vectors: the direction in codes from images without an attribute to those with it."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from vae_lab.contracts import Batch, Classifies, Encodes
from vae_lab.errors import LabError
from vae_lab.metrics import strokes
from vae_lab.metrics.codes import linear_probe
from vae_lab.metrics.inversion import decoded
from vae_lab.metrics.measures import Measure, encode, in_batches

__all__ = ["STROKES", "Attribute", "Labelled", "Stroke", "attribute_vector", "moved"]


class Attribute(Protocol):
    """Tells apart images that have it (1), that lack it (-1), and that are in between (0)."""

    @property
    def about(self) -> str:
        """How it is told."""

    def of(self, images: Batch) -> Tensor:
        """Return the signs of images by their labels, or their pixels, shape (N,)."""

    def seen(self, x: Tensor) -> Tensor:
        """Return the signs of unlabelled images (N, C, H, W), shape (N,)."""


def _width(x: Tensor) -> Tensor:
    # A width is the height of the transposed image.
    return strokes.height(x.mT)


STROKES: dict[str, Callable[[Tensor], Tensor]] = {
    "thickness": strokes.stroke_width,
    "slant": strokes.slant,
    "width": _width,
}


class Stroke:
    """A measured attribute of handwriting: the upper third of images has it, the lower lacks it.

    Args:
        name: One of `STROKES`.
        x: Images whose thirds these are, shape (N, C, H, W).
    """

    def __init__(self, name: str, x: Tensor) -> None:
        self.measure = STROKES[name]
        ends = self.measure(x).double().quantile(torch.tensor([1 / 3, 2 / 3]).double())
        self.low, self.high = ends.tolist()
        self.about = f"{name} above {self.high:.3f} or below {self.low:.3f}, the outer thirds"
        self.about += f" of {len(x)} training images"
        if x.shape[1] > 1:
            self.about += ", whose colours were averaged to light strokes on dark ground"

    def of(self, images: Batch) -> Tensor:
        return self.seen(images.x)

    def seen(self, x: Tensor) -> Tensor:
        values = self.measure(x)
        signs: Tensor = (values > self.high).int() - (values < self.low).int()
        return signs


class Labelled:
    """An attribute of labels (N, A), seen in images without one by a held-out classifier.

    That is a logistic regression on a judge's features, which the edited model has no part in.

    Args:
        name: What it is called.
        column: Its place among the labels.
        judge: Gives the features, in evaluation mode.
        known: Images with labels to learn from.
        others: Images to count the classifier's own errors on.

    Raises:
        LabError: If all images have it, or none, or it is a number of more than two values.
    """

    def __init__(self, name: str, column: int, judge: Encodes, known: Batch, others: Batch) -> None:
        self.column, self.judge = column, judge
        self.middle = _middle(name, known.y[:, column].cpu())
        self.probe = linear_probe(encode(judge, known), self.of(known))
        missed = (self.seen(others.x) != self.of(others)).double().mean().item()
        self.about = f"{name} by the labels; of edits by a logistic regression on a judge's "
        self.about += f"features, learned from {len(known.y)} training images, which errs on "
        self.about += f"{missed:.4f} of {len(others.x)} others"

    def of(self, images: Batch) -> Tensor:
        signs: Tensor = 2 * (images.y[:, self.column] > self.middle).int().cpu() - 1
        return signs

    def seen(self, x: Tensor) -> Tensor:
        features = encode(self.judge, Batch.unlabelled(x))
        return torch.from_numpy(self.probe.predict(features.numpy()))


def _middle(name: str, labels: Tensor) -> float:
    """Return what lies between the two values of an attribute."""
    values = torch.unique(labels)
    if len(values) != 2:
        found = f"has {len(values)} values in" if len(values) > 2 else "is alike in all of"
        raise LabError(
            f"{name} {found} {len(labels)} training images; to be moved it needs two values."
        )
    return float(values.double().mean())


def attribute_vector(model: Encodes, images: Batch, has: Tensor) -> Tensor:
    r"""Return the mean code of images with an attribute, less that of images without it.

    .. math:: v = \frac{1}{|X_+|} \sum_{x \in X_+} z(x) - \frac{1}{|X_-|} \sum_{x \in X_-} z(x)

    Args:
        model: In evaluation mode.
        images: With what their codes are conditioned on.
        has: 1 for those with it, -1 for those without, shape (N,).

    Returns:
        Shape (latent_dim,), on the CPU.

    Raises:
        LabError: If there is no image with it, or none without.

    References:
        Larsen et al., Autoencoding beyond pixels using a learned similarity metric, 2016,
        section 4.1.1. https://arxiv.org/abs/1512.09300
    """
    ends = []
    for sign, what in ((1, "with"), (-1, "without")):
        chosen = has == sign
        if not chosen.any():
            raise LabError(f"Of {len(has)} training images none is {what} the attribute.")
        ends.append(encode(model, Batch(images.x[chosen], images.y[chosen])).double().mean(0))
    return (ends[0] - ends[1]).float()


class _Edited(NamedTuple):
    """What became of images whose codes were moved.

    Attributes:
        there: Which were not past the threshold before.
        moved: Which are past it now.
        alone: Which are past it by decoding alone, their codes unmoved.
        kept: Which kept their class, if there is a judge.
    """

    there: Tensor
    moved: Tensor
    alone: Tensor
    kept: Tensor | None


def moved(
    model: Any,
    images: Batch,
    vector: Tensor,
    attribute: Attribute,
    strengths: list[float],
    judge: Classifies | None = None,
) -> dict[str, Measure]:
    """Measure how many images are given an attribute, or rid of it, by a step along its vector.

    A step forward succeeds for an image that has not the attribute if the decoded image has it, a
    step backward the other way round; images past the threshold from the start are left out. Steps
    of 0 tell what decoding alone does, which is no merit of the vector.

    Args:
        model: What encodes and decodes, in evaluation mode.
        images: Held-out images, with what their codes are conditioned on.
        vector: Shape (latent_dim,).
        attribute: Tells who has it.
        strengths: Steps, in units of the vector.
        judge: What is to take edited images for the class of their label, if any.

    Returns:
        For each strength as `moved_up_1` or `moved_down_1` the share of images past the threshold,
        as `gained_...` that share less the share at a step of 0; with a judge as `kept_...` that of
        those taken for their class, as `both_...` of both.
    """
    codes, had = encode(model, images), attribute.of(images).cpu()
    alone = attribute.seen(decoded(model, codes, images.y).clamp(0, 1)).cpu()
    found: dict[str, Measure] = {}
    for strength in strengths:
        edited = decoded(model, codes + strength * vector, images.y).clamp(0, 1)
        has = attribute.seen(edited).cpu()
        kept = None if judge is None else _kept(judge, Batch(edited, images.y))
        for sign, way in ((-1, "down"), (1, "up")):
            if strength * sign >= 0:
                name = f"{way}_{abs(strength):g}"
                found |= _shares(name, _Edited(had != sign, has == sign, alone == sign, kept))
    return found


def _shares(name: str, edited: _Edited) -> dict[str, Measure]:
    there = edited.there
    n = int(there.sum())
    if not n:
        return {}
    parts = {"moved": edited.moved}
    if edited.kept is not None:
        parts |= {"kept": edited.kept, "both": edited.moved & edited.kept}
    note = f"{n} images that were not past the threshold"
    found = {
        f"{key}_{name}": Measure.share(part[there].double().mean().item(), n, note)
        for key, part in parts.items()
    }
    found[f"gained_{name}"] = _gained(edited, f"{note}, less step 0")
    return found


def _gained(edited: _Edited, note: str) -> Measure:
    there = edited.there
    gained = Measure.mean((edited.moved.double() - edited.alone.double())[there], "share", note)
    # Where all are alike, as in `Measure.share`, an error of zero would claim certainty.
    return gained._replace(standard_error=gained.standard_error or None)


def _kept(judge: Classifies, edited: Batch) -> Tensor:
    log_probs = in_batches(judge, edited, lambda x, _: judge.log_probs(x))
    return log_probs.argmax(1) == edited.y.cpu()
