"""Attribute vectors: directions in code space from images without an attribute to those with it."""

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
    """Tells images with an attribute (1) from those without (-1) and those in between (0)."""

    @property
    def about(self) -> str:
        """How the attribute is determined."""

    def of(self, images: Batch) -> Tensor:
        """Return the signs of images from their labels or pixels, shape (N,)."""

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
    """A measured attribute of handwriting: images in the upper third have it, in the lower not.

    Args:
        name: One of `STROKES`.
        x: Images that define the thirds, shape (N, C, H, W).
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
    """An attribute of labels (N, A), predicted for unlabelled images by a separate classifier.

    The classifier is a logistic regression on a judge's features, independent of the edited model.

    Args:
        name: Name of the attribute.
        column: Its column in the labels.
        judge: Provides the features, in evaluation mode.
        known: Labelled images to train on.
        others: Images on which the classifier's own error is measured.

    Raises:
        LabError: If all images have it, or none, or it has more than two values.
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
    """Return the threshold between the two values of an attribute."""
    values = torch.unique(labels)
    if len(values) != 2:
        found = f"has {len(values)} values in" if len(values) > 2 else "is alike in all of"
        raise LabError(
            f"{name} {found} {len(labels)} training images; to be moved it needs two values."
        )
    return float(values.double().mean())


def attribute_vector(model: Encodes, images: Batch, has: Tensor) -> Tensor:
    r"""Return the mean code of images with an attribute minus that of images without it.

    .. math:: v = \frac{1}{|X_+|} \sum_{x \in X_+} z(x) - \frac{1}{|X_-|} \sum_{x \in X_-} z(x)

    Args:
        model: In evaluation mode.
        images: Images and their conditions.
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
    """Results for images whose codes were moved, one boolean per image.

    Attributes:
        there: Whether it was not past the threshold before.
        moved: Whether it is past it now.
        alone: Whether it is past it by decoding alone, its code unmoved.
        kept: Whether it kept its class, if there is a judge.
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
    """Measure how many images gain or lose an attribute by a step along its vector.

    A step forward succeeds for an image without the attribute if the decoded image has it, a step
    backward vice versa; images past the threshold from the start are left out. A step of 0
    measures the effect of decoding alone.

    Args:
        model: A model that encodes and decodes, in evaluation mode.
        images: Held-out images and their conditions.
        vector: Shape (latent_dim,).
        attribute: The attribute.
        strengths: Steps, in units of the vector.
        judge: A classifier that tells whether edited images keep their class, if any.

    Returns:
        For each strength, such as 1 forward: `moved_up_1`, the share of images past the threshold;
        `gained_up_1`, that share minus the share at a step of 0; with a judge `kept_up_1`, the
        share that keep their class, and `both_up_1`, the share with both.
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
    # As in `Measure.share`, an error of zero would claim certainty.
    return gained._replace(standard_error=gained.standard_error or None)


def _kept(judge: Classifies, edited: Batch) -> Tensor:
    log_probs = in_batches(judge, edited, lambda x, _: judge.log_probs(x))
    return log_probs.argmax(1) == edited.y.cpu()
