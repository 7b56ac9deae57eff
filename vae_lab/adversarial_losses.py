"""What critic and generator want of each other, as objects over pure functions of scores.

A critic's score of an image is any real number, higher for an image that it takes for real. All
losses are one number an image.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from vae_lab.arguments import above_zero

__all__ = [
    "R1",
    "AdversarialLoss",
    "CriticPenalty",
    "GradientPenalty",
    "Hinge",
    "LeastSquares",
    "NonSaturating",
    "Saturating",
    "Wasserstein",
    "gradient_norm",
]

Score = Callable[[Tensor], Tensor]
"""Maps images (B, C, H, W) to scores (B,)."""


class AdversarialLoss(ABC):
    """What the critic minimises, given its scores, and what the generator does."""

    @abstractmethod
    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the critic's loss for as many scores of real and of generated images, (B,)."""

    @abstractmethod
    def generator(self, fake: Tensor) -> Tensor:
        """Return the generator's loss for scores of its images, shape (B,)."""

    def output(self, score: Tensor) -> Tensor:
        """Return what a score says, for its curve: here the score itself."""
        return score


class Saturating(AdversarialLoss):
    r"""The game of the first paper, which the generator loses where the critic is sure of itself.

    .. math::
        \ell_D = -\log \sigma(s(x)) - \log(1 - \sigma(s(\hat x))), \quad
        \ell_G = \log(1 - \sigma(s(\hat x)))

    where s is the critic's score of an image, and the hat marks generated ones.

    A critic that cannot tell the two apart says 0.5 of both and loses log 4.

    References:
        Goodfellow et al., Generative Adversarial Nets, 2014. https://arxiv.org/abs/1406.2661
    """

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(-real) + softplus(fake)

    def generator(self, fake: Tensor) -> Tensor:
        return -softplus(fake)

    def output(self, score: Tensor) -> Tensor:
        """Return the probability of being real."""
        return score.sigmoid()


class NonSaturating(Saturating):
    r"""The first paper's critic, with a generator that keeps its gradient while it loses.

    .. math::
        \ell_D = -\log \sigma(s(x)) - \log(1 - \sigma(s(\hat x))), \quad
        \ell_G = -\log \sigma(s(\hat x))

    where s is the critic's score of an image, and the hat marks generated ones.

    References:
        Goodfellow et al., Generative Adversarial Nets, 2014, section 3.
        https://arxiv.org/abs/1406.2661
    """

    def generator(self, fake: Tensor) -> Tensor:
        return softplus(-fake)


class LeastSquares(AdversarialLoss):
    r"""Squared distances of the scores from 1 for real images, and from 0 for generated ones.

    .. math::
        \ell_D = \frac{1}{2} (s(x) - 1)^2 + \frac{1}{2} s(\hat x)^2, \quad
        \ell_G = \frac{1}{2} (s(\hat x) - 1)^2

    where s is the critic's score of an image, and the hat marks generated ones.

    References:
        Mao et al., Least Squares Generative Adversarial Networks, 2017.
        https://arxiv.org/abs/1611.04076
    """

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * ((real - 1).square() + fake.square())

    def generator(self, fake: Tensor) -> Tensor:
        return 0.5 * (fake - 1).square()


class Hinge(AdversarialLoss):
    r"""Scores beyond 1 for real images, and below -1 for others, cost the critic nothing.

    .. math::
        \ell_D = \max(0, 1 - s(x)) + \max(0, 1 + s(\hat x)), \quad \ell_G = -s(\hat x)

    where s is the critic's score of an image, and the hat marks generated ones.

    References:
        Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018.
        https://arxiv.org/abs/1802.05957
    """

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return relu(1 - real) + relu(1 + fake)

    def generator(self, fake: Tensor) -> Tensor:
        return -fake


class Wasserstein(AdversarialLoss):
    r"""The difference of scores, which bounds a distance if the critic's slope is at most one.

    .. math:: \ell_D = s(\hat x) - s(x), \quad \ell_G = -s(\hat x)

    where s is the critic's score of an image, and the hat marks generated ones.

    The slope is kept near one by `GradientPenalty`. Spectral normalisation bounds it too: by one
    where all layers are linear, by somewhat more for each convolution, of which the kernel alone is
    scaled, and not at all where batch norm follows. Without either, scores grow for ever.

    References:
        Arjovsky et al., Wasserstein GAN, 2017. https://arxiv.org/abs/1701.07875
    """

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake - real

    def generator(self, fake: Tensor) -> Tensor:
        return -fake


def gradient_norm(score: Score, x: Tensor) -> Tensor:
    r"""Norm of a score's gradient at each image, :math:`\|\nabla_x s(x)\|`, to be differentiated.

    Half precision has too few digits for gradients of gradients: this is computed in single.

    Args:
        score: Judges each image by itself.
        x: Images, shape (B, C, H, W).

    Returns:
        Shape (B,).
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(score(x).sum(), x, create_graph=True)
    # The norm has no gradient of its own where the gradient is zero.
    return (gradient.flatten(1).square().sum(1) + 1e-12).sqrt()


class CriticPenalty(ABC):
    """What a critic pays for its slope, which would let it win too easily.

    Args:
        weight: Of the penalty beside the critic's loss.

    Raises:
        LabError: If the weight is not positive.
    """

    def __init__(self, weight: float = 10.0) -> None:
        above_zero(weight=weight)
        self.weight = weight

    def differentiates_twice(self, model: object) -> bool:
        """Tell whether it is made of gradients, as slopes are, which training differentiates."""
        return True

    @abstractmethod
    def __call__(self, score: Score, real: Tensor, fake: Tensor) -> Tensor:
        """Return the penalty, weight included, for real and generated images, shape (B,)."""


class GradientPenalty(CriticPenalty):
    r"""Keeps the critic's slope at one between real and generated images.

    .. math:: \lambda (\|\nabla s(u x + (1 - u) \hat x)\| - 1)^2, \quad u \sim U(0, 1)

    where s is the critic's score of an image, the hat marks generated ones and `weight` is lambda.

    References:
        Gulrajani et al., Improved Training of Wasserstein GANs, 2017.
        https://arxiv.org/abs/1704.00028
    """

    def __call__(self, score: Score, real: Tensor, fake: Tensor) -> Tensor:
        u = torch.rand(len(real), 1, 1, 1, device=real.device)
        between = torch.lerp(fake.detach().to(real), real, u)
        return self.weight * (gradient_norm(score, between) - 1).square()


class R1(CriticPenalty):
    r"""Keeps the critic flat at real images.

    .. math:: \frac{\gamma}{2} \|\nabla s(x)\|^2

    where s is the critic's score of an image and `weight` is gamma.

    References:
        Mescheder et al., Which Training Methods for GANs do actually Converge?, 2018.
        https://arxiv.org/abs/1801.04406
    """

    def __call__(self, score: Score, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * self.weight * gradient_norm(score, real).square()
