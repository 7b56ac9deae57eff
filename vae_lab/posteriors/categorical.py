"""Categorical posteriors, trained by the Gumbel-softmax."""

import math
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import gumbel_softmax

from vae_lab.arguments import above_zero, not_negative
from vae_lab.errors import LabError
from vae_lab.posteriors.base import Family
from vae_lab.precision import at_least_single
from vae_lab.words import counted

__all__ = ["Categorical", "GumbelSoftmax", "group_count"]


class Categorical(NamedTuple):
    r"""Independent categorical distributions of one-hot codes, with relaxed samples for training.

    .. math:: \tilde z_g = \mathrm{softmax}((\log \pi_g(x) + \epsilon_g) / \tau), \quad
        \epsilon \sim \mathrm{Gumbel}(0, 1)

    Attributes:
        logits: Shape (B, groups, classes).
        temperature: tau; as it approaches 0, relaxed codes become one-hot.
        straight_through: Whether relaxed codes are rounded to one-hot ones in the forward pass
            only.

    References:
        Jang et al., Categorical Reparameterization with Gumbel-Softmax, 2017.
        https://arxiv.org/abs/1611.01144
    """

    logits: Tensor
    temperature: float = 1.0
    straight_through: bool = False

    @property
    def mean(self) -> Tensor:
        """The probability of each class, shape (B, groups * classes)."""
        return self.logits.softmax(-1).flatten(-2)

    def rsample(self, n: int) -> Tensor:
        """Draw relaxed codes (n, B, groups * classes), which `log_prob` is not for."""
        logits = self.logits.expand(n, *self.logits.shape)
        z: Tensor = gumbel_softmax(logits, self.temperature, self.straight_through)
        return z.flatten(-2)

    def sample(self, n: int) -> Tensor:
        """Draw one-hot codes, shape (n, B, groups * classes)."""
        # The argmax of Gumbel-perturbed logits is an exact sample; rounding removes what the
        # straight-through arithmetic leaves of the relaxed code.
        z: Tensor = gumbel_softmax(self.logits.expand(n, *self.logits.shape), hard=True)
        return z.detach().round().flatten(-2)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-probability of one-hot codes (..., B, D), shape (..., B)."""
        return (z * self.logits.log_softmax(-1).flatten(-2)).sum(-1)

    def detach(self) -> "Categorical":
        """Return the same distribution with detached parameters."""
        return self._replace(logits=self.logits.detach())


class GumbelSoftmax(Family):
    r"""Categorical codes, relaxed in training at a temperature that falls with the steps.

    .. math:: \tau = \max(\tau_{min}, e^{-r t})

    Outside training codes are one-hot, so that likelihoods are those of the discrete model.

    Args:
        latent_dim: Size of the code, of latent_dim / classes groups.
        classes: Classes per group.
        tau_min: Lowest temperature.
        rate: r, the decay rate of the temperature per step.
        straight_through: Give the decoder one-hot codes in training too.

    Raises:
        LabError: If the classes do not divide the code, or a number is out of range.

    References:
        Jang et al., Categorical Reparameterization with Gumbel-Softmax, 2017.
        https://arxiv.org/abs/1611.01144
    """

    def __init__(
        self,
        latent_dim: int,
        classes: int = 10,
        tau_min: float = 0.5,
        rate: float = 3e-5,
        straight_through: bool = False,
    ) -> None:
        super().__init__(latent_dim)

        self.groups = group_count(latent_dim, classes)
        above_zero(tau_min=tau_min)
        not_negative(rate=rate)
        self.features = latent_dim
        self.classes: int = classes
        self.tau_min = tau_min
        self.rate = rate
        self.straight_through = straight_through

    def forward(self, features: Tensor, step: int) -> Categorical:
        logits = at_least_single(features).view(-1, self.groups, self.classes)
        temperature = max(self.tau_min, math.exp(-self.rate * step))
        return Categorical(logits, temperature, self.straight_through)


def group_count(latent_dim: int, classes: int) -> int:
    """Return the number of one-hot groups of a code.

    Raises:
        LabError: If the classes do not divide it, or are fewer than two.
    """
    if classes < 2 or latent_dim % classes:
        raise LabError(
            f"A code of {counted(latent_dim, 'dimension')} is not made of groups of {classes} "
            "classes: choose a latent_dim that is groups times classes, of 2 classes at least."
        )
    return latent_dim // classes
