"""Bases of priors, and of the densities of codes that they return."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from vae_lab.contracts import Shape
from vae_lab.errors import LabError
from vae_lab.posteriors import Family, Posterior
from vae_lab.words import article

__all__ = ["CodeDensity", "Prior"]


class CodeDensity(ABC):
    """A density of codes, with samples and KL divergences."""

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density, or log-probability, of codes (..., D), shape (...)."""

    @abstractmethod
    def sample(self, n: int) -> Tensor:
        """Draw codes of shape (n, D) from the global random stream.

        A density given B conditions samples from each in turn; n is a multiple of B.
        """

    def back(self, z: Tensor) -> Tensor:
        """Return the codes of the unconditional density for codes (..., B, D); here the same."""
        return z

    def kl(self, posterior: Posterior, z: Tensor) -> Tensor:
        r"""Return the divergence of `posterior` from this density, in nats.

        .. math:: KL = \frac{1}{n} \sum_{i=1}^n \log q(z_i | x) - \log p(z_i)

        A density with a closed form does not use the codes.

        Args:
            posterior: The posteriors of B images.
            z: Codes drawn from them, shape (n, B, D).

        Returns:
            One column per independent part of the code, shape (B, D), or a single one,
            shape (B, 1).
        """
        return (posterior.log_prob(z) - self.log_prob(z)).mean(0).unsqueeze(1)


class Prior(nn.Module, ABC):
    """Base of all priors.

    Args:
        latent_dim: Size of the code.
        shape: Channels, height and width of an image, for priors that are made of images.

    Attributes:
        classes: Size of a one-hot group of the code; None if codes are real numbers.
        closed_form: The families of posteriors with a closed-form divergence for each part of
            the code.
    """

    classes: int | None = None
    closed_form: tuple[type[Family], ...] = ()

    def __init__(self, latent_dim: int, shape: Shape | None = None) -> None:
        super().__init__()

        self.latent_dim = latent_dim

    @abstractmethod
    def given(self, infer: Callable[[Tensor], Posterior]) -> CodeDensity:
        """Return the density of codes; `infer` computes posteriors, if it depends on them."""

    def check(self, family: Family) -> None:
        """Refuse a family of posteriors that does not fit.

        Raises:
            LabError: If only one has one-hot codes, or their numbers of classes differ.
        """
        if family.classes != self.classes:
            kinds = [_kind(part.classes) for part in (family, self)]
            raise LabError(
                f"Codes of {article(family)} posterior are {kinds[0]}, those of "
                f"{article(self)} prior {kinds[1]}; choose two that agree."
            )


def _kind(classes: int | None) -> str:
    return f"one-hot in {classes} classes" if classes else "real numbers"
