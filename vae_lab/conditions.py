"""Conditions y: what a model is told of an image beforehand, in forms that its nets can take."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from vae_lab.arguments import at_least
from vae_lab.contracts import Shape
from vae_lab.errors import LabError
from vae_lab.likelihoods import Likelihood
from vae_lab.nets import Encoder, MLPEncoder, encoded
from vae_lab.precision import at_least_single
from vae_lab.words import counted

__all__ = [
    "AttributeCondition",
    "ClassCondition",
    "Condition",
    "ImageCondition",
    "PartialCondition",
    "check_classes",
]

CERTAIN = 20.0
"""A logit whose sigmoid is 1 in single precision."""


class Condition(nn.Module, ABC):
    """Base of all conditions y; nets need not know of them.

    An encoder sees y as more channels of the image, a decoder as more dimensions of the code.

    Args:
        shape: Channels, height and width of the images x that y is said of.

    Attributes:
        features: Number of features of y that decoder and prior get.
        planes: Number of channels of y if it is an image, else 0.
        classes: Number of classes if y is a class, else None.
        certain: Whether y determines some of the pixels.
    """

    features: int
    certain = False
    planes = 0
    classes: int | None = None

    def __init__(self, shape: Shape) -> None:
        super().__init__()

        self.size = (shape[1], shape[2])

    @abstractmethod
    def forward(self, y: Tensor | None) -> Tensor:
        """Return y as features, shape (B, features).

        Raises:
            LabError: If there is no y, or it is of another kind.
        """

    @abstractmethod
    def example(self, n: int) -> Tensor:
        """Return `n` possible conditions y, as examples of their shape and type."""

    def image(self, y: Tensor | None) -> Tensor | None:
        """Return y, shape (B, planes, H, W), if it is an image.

        Raises:
            LabError: If it should be an image, and is not.
        """
        return None

    def shown(self, y: Tensor) -> Tensor | None:
        """Return y for display, shape (B, C', H, W), if it is an image."""
        return self.image(y)

    def settle(self, output: Tensor, y: Tensor | None) -> Tensor:
        """Return a decoder's output (..., B, C, H, W) with the pixels that y determines."""
        return output

    def check(self, likelihood: Likelihood) -> None:
        """Refuse a likelihood that cannot express known pixels.

        Raises:
            LabError: If y determines some pixels, and the likelihood is not of binary pixels.
        """


class ClassCondition(Condition):
    """One of several classes, y of shape (B,).

    Args:
        shape: Channels, height and width of an image.
        classes: Number of classes.

    Raises:
        LabError: If there are fewer than two.
    """

    def __init__(self, shape: Shape, classes: int = 10) -> None:
        at_least(2, classes=classes)
        super().__init__(shape)

        self.features = classes
        self.classes: int = classes

    def example(self, n: int) -> Tensor:
        return torch.zeros(n, dtype=torch.long)

    def forward(self, y: Tensor | None) -> Tensor:
        if y is None or y.ndim != 1 or y.is_floating_point():
            raise _unmet("one class index an image", y)
        try:
            return one_hot(y.long(), self.classes).float()
        except RuntimeError as error:
            raise LabError(
                f"A condition is no class: there are 0 to {self.classes - 1}, and these go from "
                f"{int(y.min())} to {int(y.max())}. Set the condition's classes."
            ) from error


class AttributeCondition(Condition):
    """Real-valued attributes, y of shape (B, A).

    Args:
        shape: Channels, height and width of an image.
        attributes: A, the number of attributes.

    Raises:
        LabError: If there are none.
    """

    def __init__(self, shape: Shape, attributes: int) -> None:
        at_least(1, attributes=attributes)
        super().__init__(shape)

        self.features = attributes

    def example(self, n: int) -> Tensor:
        return torch.zeros(n, self.features)

    def forward(self, y: Tensor | None) -> Tensor:
        if y is None or y.shape[1:] != (self.features,):
            raise _unmet(f"{self.features} attributes an image", y)
        return y.float()


class ImageCondition(Condition):
    """Another image, y of shape (B, channels, H, W).

    Args:
        shape: Channels, height and width of an image x; y has the same height and width.
        channels: Channels of y.
        features: Number of features of y, for decoder and prior.
        encoder: Network from y to these features.

    Raises:
        LabError: If a size is not positive.
    """

    def __init__(
        self,
        shape: Shape,
        channels: int = 1,
        features: int = 50,
        encoder: Callable[[Shape, int], Encoder] = MLPEncoder,
    ) -> None:
        at_least(1, channels=channels, features=features)
        super().__init__(shape)

        self.planes = channels
        self.features = features
        self.encoder = encoder((channels, *self.size), features)

    def example(self, n: int) -> Tensor:
        return torch.zeros(n, self.planes, *self.size)

    def forward(self, y: Tensor | None) -> Tensor:
        return encoded(self.encoder, self.image(y), self.features)

    def image(self, y: Tensor | None) -> Tensor:
        if y is None or y.shape[1:] != (self.planes, *self.size):
            raise _unmet(f"an image of {self.planes} x {self.size[0]} x {self.size[1]}", y)
        return y


class PartialCondition(ImageCondition):
    r"""A part of the image itself, to be completed, as provided by data with `quadrants`.

    y is the image, black where it is unknown, with the mask of known pixels as the last channel.
    Known pixels are kept whatever the decoder's output is: their probability is one, and the
    likelihood is that of the unknown pixels alone.

    .. math:: \log p(x | z, y) = \sum_{i \text{ unknown}} \log p(x_i | z, y)

    Args:
        shape: Channels, height and width of an image.
        features: Number of features of y, for decoder and prior.
        encoder: Network from y to these features.

    Raises:
        LabError: If a size is not positive.

    References:
        Sohn et al., Learning Structured Output Representation using Deep Conditional Generative
        Models, 2015. https://papers.nips.cc/paper/5775
    """

    certain = True

    def __init__(
        self,
        shape: Shape,
        features: int = 50,
        encoder: Callable[[Shape, int], Encoder] = MLPEncoder,
    ) -> None:
        super().__init__(shape, shape[0] + 1, features, encoder)

    def shown(self, y: Tensor) -> Tensor:
        """Return the known pixels, the others grey."""
        seen, known = self._split(y)
        return torch.lerp(torch.full_like(seen, 0.5), seen, known)

    def check(self, likelihood: Likelihood) -> None:
        if not likelihood.binary:
            raise LabError(
                "A PartialCondition takes known pixels for certain, which needs a likelihood of "
                f"black and white ones, Bernoulli; this is {type(likelihood).__name__}."
            )

    def settle(self, output: Tensor, y: Tensor | None) -> Tensor:
        seen, known = self._split(y)
        # Binarised images may also be given as the grey ones that they were sampled from.
        certain = seen.logit().clamp(-CERTAIN, CERTAIN)
        return torch.where(known > 0.5, certain, at_least_single(output))

    def _split(self, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the image and the mask of known pixels."""
        seen, known = self.image(y).tensor_split([self.planes - 1], 1)
        return seen, known


def _unmet(need: str, y: Tensor | None) -> LabError:
    found = "there is none" if y is None else f"this one has shape {tuple(y.shape)}, {y.dtype}"
    return LabError(f"The model needs a condition, {need}; {found}.")


def check_classes(trainer: object, classes: int, setting: str) -> None:
    """Refuse data with another number of classes, some of which would not be trained.

    Loaders without a data module have no number of classes, and are not checked.

    Raises:
        LabError: If there are more or fewer classes, or none.
    """
    data = getattr(trainer, "datamodule", None)
    found = getattr(data, "num_classes", None)
    if data is not None and found != classes:
        raise LabError(
            f"{type(data).__name__} has {counted(found, 'class') if found else 'no classes'}, but "
            f"{setting} are {classes}: "
            "make them the same."
        )
