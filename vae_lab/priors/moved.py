"""A prior that each condition shifts and scales."""

from dataclasses import dataclass

from torch import Tensor

from vae_lab.posteriors import DiagonalGaussian, Posterior
from vae_lab.priors.base import CodeDensity

__all__ = ["Moved"]


@dataclass(frozen=True)
class Moved(CodeDensity):
    r"""A density, shifted and scaled for each of B conditions.

    .. math:: z = \mu(y) + \sigma(y) \odot \epsilon, \quad \epsilon \sim p

    For a standard normal this is :math:`N(z; \mu(y), \mathrm{diag}\, \sigma^2(y))`.

    Attributes:
        base: The density p.
        place: Means and log-variances, shape (B, D) each.
    """

    base: CodeDensity
    place: DiagonalGaussian

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density of codes (..., B, D), shape (..., B)."""
        return self.base.log_prob(self.back(z)) - 0.5 * self.place.log_variance.sum(-1)

    def sample(self, n: int) -> Tensor:
        """Draw n codes, from each of the B conditions in turn, shape (n, D)."""
        z = self.base.sample(n).view(-1, *self.place.mean.shape)
        return self.there(z).flatten(0, 1)

    def kl(self, posterior: Posterior, z: Tensor) -> Tensor:
        if not isinstance(posterior, DiagonalGaussian):
            return super().kl(posterior, z)
        # A KL divergence does not change if both densities are shifted and scaled alike.
        log_variance = posterior.log_variance - self.place.log_variance
        moved_back = DiagonalGaussian(self.back(posterior.mean), log_variance)
        return self.base.kl(moved_back, self.back(z))

    def there(self, z: Tensor) -> Tensor:
        """Map codes (..., B, D) of the base to codes under the conditions."""
        return self.place.mean + (0.5 * self.place.log_variance).exp() * z

    def back(self, z: Tensor) -> Tensor:
        """Map codes (..., B, D) under the conditions to codes of the base."""
        return (z - self.place.mean) * (-0.5 * self.place.log_variance).exp()
