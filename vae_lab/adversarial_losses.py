"""Adversarial losses of critic and generator, and penalties on the critic's gradient.

A critic's score is a real number, higher for images that look real. All losses are per image.
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
    """Base of all adversarial losses, as functions of the critic's scores."""

    @abstractmethod
    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the critic's loss for scores of real and of generated images, shape (B,) each."""

    @abstractmethod
    def generator(self, fake: Tensor) -> Tensor:
        """Return the generator's loss for scores of its images, shape (B,)."""

    def output(self, score: Tensor) -> Tensor:
        """Return the readable output that is logged for scores; here the scores themselves."""
        return score


class Saturating(AdversarialLoss):
    r"""The minimax loss, whose generator has no gradient if the critic is certain.

    .. math::
        \ell_D = -\log \sigma(s(x)) - \log(1 - \sigma(s(\hat x))), \quad
        \ell_G = \log(1 - \sigma(s(\hat x)))

    where s is the critic's score of an image, and the hat marks generated ones.

    A critic at chance outputs 0.5 for both, and its loss is log 4.

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
    r"""The non-saturating loss, whose generator keeps its gradient if the critic is certain.

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
    r"""The least-squares loss, with target score 1 for real images and 0 for generated ones.

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
    r"""The hinge loss: scores above 1 for real and below -1 for generated images cost nothing.

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
    r"""The Wasserstein loss, a bound on that distance if the critic is 1-Lipschitz.

    .. math:: \ell_D = s(\hat x) - s(x), \quad \ell_G = -s(\hat x)

    where s is the critic's score of an image, and the hat marks generated ones.

    `GradientPenalty` keeps the gradient norm near one. Spectral normalisation bounds it too: by one
    for linear layers, by more for convolutions, of which only the kernel is scaled, and not at all
    with batch norm. With neither, scores grow without limit.

    References:
        Arjovsky et al., Wasserstein GAN, 2017. https://arxiv.org/abs/1701.07875
    """

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake - real

    def generator(self, fake: Tensor) -> Tensor:
        return -fake


def gradient_norm(score: Score, x: Tensor) -> Tensor:
    r"""Norm of a score's gradient at each image, :math:`\|\nabla_x s(x)\|`, to be differentiated.

    Computed in single precision, as half precision is too coarse for second derivatives.

    Args:
        score: Maps images to scores, each independently.
        x: Images, shape (B, C, H, W).

    Returns:
        Shape (B,).
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(score(x).sum(), x, create_graph=True)
    # The norm is not differentiable at a zero gradient.
    return (gradient.flatten(1).square().sum(1) + 1e-12).sqrt()


class CriticPenalty(ABC):
    """Base of penalties on the critic's gradient with respect to images.

    Args:
        weight: Weight of the penalty in the critic's loss.

    Raises:
        LabError: If the weight is not positive.
    """

    def __init__(self, weight: float = 10.0) -> None:
        above_zero(weight=weight)
        self.weight = weight

    def differentiates_twice(self, model: object) -> bool:
        """Return whether it contains gradients, which training differentiates again."""
        return True

    @abstractmethod
    def __call__(self, score: Score, real: Tensor, fake: Tensor) -> Tensor:
        """Return the weighted penalty for real and generated images, shape (B,)."""


class GradientPenalty(CriticPenalty):
    r"""Penalises gradient norms other than one between real and generated images.

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
    r"""Penalises the critic's gradient at real images.

    .. math:: \frac{\gamma}{2} \|\nabla s(x)\|^2

    where s is the critic's score of an image and `weight` is gamma.

    References:
        Mescheder et al., Which Training Methods for GANs do actually Converge?, 2018.
        https://arxiv.org/abs/1801.04406
    """

    def __call__(self, score: Score, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * self.weight * gradient_norm(score, real).square()
