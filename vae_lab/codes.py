"""Specifications of an InfoGAN's codes: how each is sampled, and predicted from an image."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from vae_lab.arguments import above_zero, at_least
from vae_lab.errors import LabError
from vae_lab.precision import at_least_single

__all__ = ["Categorical", "Code", "Continuous", "Normal", "Uniform"]


class Code(ABC):
    """Base of all codes: one part of a generator's input, with its prediction Q(c|x).

    Args:
        weight: Weight of its information term in both players' losses.
        name: Its name in curves, pictures and metrics; by default c1, c2, ... in order.

    Raises:
        LabError: If the weight is not positive or the name is not an identifier.
    """

    size: int
    """Its dimensions in the generator's input."""

    outputs: int
    """Dimensions of the critic's prediction."""

    entropy: float
    """In nats."""

    extent: float | None = None
    """Most values lie between -extent and extent; None if categorical."""

    share = 1.0
    """Share of the draws in that range."""

    @property
    def categorical(self) -> bool:
        """Whether it is categorical, not continuous."""
        return self.extent is None

    def __init__(self, weight: float = 1.0, name: str | None = None) -> None:
        above_zero(weight=weight)
        if name is not None and not name.isidentifier():
            raise LabError(f"A code's name is a word of letters and digits, not {name!r}.")
        self.weight = weight
        self.name = name

    @abstractmethod
    def sample(self, n: int, device: torch.device) -> Tensor:
        """Draw n codes, shape (n, size), from the global random stream."""

    @abstractmethod
    def log_prob(self, said: Tensor, code: Tensor) -> Tensor:
        """Return log Q(c|x) of codes (B, size), given predictions (B, outputs), in nats."""

    @abstractmethod
    def reading(self, said: Tensor, code: Tensor) -> dict[str, Tensor]:
        """Return the quality of the predictions by metric name, shape (B,) each."""

    @abstractmethod
    def sweep(self, steps: int) -> Tensor:
        """Return values for a traversal, shape (steps or all there are, size)."""


class Categorical(Code):
    r"""A uniform categorical code, one-hot in the generator's input.

    .. math:: I(c; x) \ge H(c) + \mathbb{E} \log Q(c | x), \quad H(c) = \log K

    The bound is logged as `c1_information`, in nats.

    Args:
        values: K, the number of values.
        weight: Weight of its information term in both players' losses.
        name: Its name in curves, pictures and metrics; by default c1, c2, ... in order.

    Raises:
        LabError: If there are fewer than two values; see also `Code`.
    """

    def __init__(self, values: int = 10, weight: float = 1.0, name: str | None = None) -> None:
        super().__init__(weight, name)

        at_least(2, values=values)
        self.size = self.outputs = values
        self.entropy = math.log(values)

    def sample(self, n: int, device: torch.device) -> Tensor:
        return one_hot(torch.randint(self.size, (n,), device=device), self.size).float()

    def log_prob(self, said: Tensor, code: Tensor) -> Tensor:
        return (at_least_single(said).log_softmax(-1) * code).sum(-1)

    def reading(self, said: Tensor, code: Tensor) -> dict[str, Tensor]:
        """Return the bound on the mutual information of code and image, H(c) + log Q(c|x)."""
        return {"information": self.entropy + self.log_prob(said, code)}

    def sweep(self, steps: int) -> Tensor:
        return torch.eye(self.size)


class Continuous(Code):
    r"""A continuous code, predicted by a unit-variance Gaussian around the critic's output.

    .. math:: \log Q(c | x) = -\frac{1}{2} (c - \mu(x))^2 - \frac{1}{2} \log 2 \pi

    With a learned variance, the loss of a certain prediction would be unbounded below.
    """

    size = outputs = 1
    extent: float

    def log_prob(self, said: Tensor, code: Tensor) -> Tensor:
        return -0.5 * (self._error(said, code) + math.log(2 * math.pi))

    def reading(self, said: Tensor, code: Tensor) -> dict[str, Tensor]:
        """Return the squared error of the prediction."""
        return {"squared_error": self._error(said, code)}

    def sweep(self, steps: int) -> Tensor:
        """Return values over twice the trained range."""
        return torch.linspace(-2 * self.extent, 2 * self.extent, steps).unsqueeze(1)

    @staticmethod
    def _error(said: Tensor, code: Tensor) -> Tensor:
        return (at_least_single(said) - code).square().sum(-1)


class Uniform(Continuous):
    r"""A continuous code, uniform on [-1, 1].

    .. math:: \log Q(c | x) = -\frac{1}{2} (c - \mu(x))^2 - \frac{1}{2} \log 2 \pi

    where the mean is the critic's output.
    """

    entropy = math.log(2)
    extent = 1.0

    def sample(self, n: int, device: torch.device) -> Tensor:
        return 2 * torch.rand(n, 1, device=device) - 1


class Normal(Continuous):
    r"""A continuous code, standard normal.

    .. math:: \log Q(c | x) = -\frac{1}{2} (c - \mu(x))^2 - \frac{1}{2} \log 2 \pi

    where the mean is the critic's output.
    """

    entropy = 0.5 * math.log(2 * math.pi * math.e)
    extent = 2.0
    share = math.erf(extent / math.sqrt(2))

    def sample(self, n: int, device: torch.device) -> Tensor:
        return torch.randn(n, 1, device=device)
