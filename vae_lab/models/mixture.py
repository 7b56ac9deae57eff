"""Gaussian mixtures, fitted by EM."""

import math
import sys
import warnings
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from vae_lab.arguments import above_zero, at_least, one_of
from vae_lab.contracts import Batch, Shape
from vae_lab.errors import LabError
from vae_lab.losses import squared_distance
from vae_lab.models.classical import Classical, check, frozen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["GaussianMixture"]

Covariance = Literal["full", "diag"]


class GaussianMixture(Classical):
    r"""A mixture of Gaussians in the space of the images' principal components.

    .. math:: p(x) = \sum_k \pi_k \mathcal{N}(z; \mu_k, \Sigma_k)
        \; \mathcal{N}(x - \hat x; 0, \sigma^2), \quad z = W (x - \bar x), \;
        \hat x = \bar x + W^T z

    EM fits the mixture to the first `pca_dim` principal components; the remaining directions share
    one variance (Tipping & Bishop, 1999). A full covariance of all pixels would be singular, as
    many never change. The product is a density of the whole image. A code holds the posterior
    probability of each component.

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        components: Number of Gaussians.
        pca_dim: Number of principal components that EM sees.
        covariance: full, or diag for one variance per principal component.
        floor: Added to variances, so that a component cannot collapse on a few images. From 1e-3
            on it is not small any more, and an EM step may lower the likelihood.
        iterations: Largest number of EM iterations. EM stops once an iteration gains less than
            0.001 nats, and a message is printed if it does not get there.

    Raises:
        LabError: If a setting is out of range, there are fewer pixels or images than `pca_dim` or
            fewer images than components, or a component collapses; see also `Classical`.

    References:
        Dempster et al., Maximum Likelihood from Incomplete Data via the EM Algorithm, 1977.
        https://doi.org/10.1111/j.2517-6161.1977.tb01600.x
        Tipping & Bishop, Mixtures of Probabilistic Principal Component Analysers, 1999.
        https://doi.org/10.1162/089976699300016728
    """

    curve: Tensor

    def __init__(
        self,
        shape: Shape,
        components: int = 10,
        pca_dim: int = 50,
        covariance: Covariance = "full",
        floor: float = 1e-6,
        iterations: int = 200,
    ) -> None:
        super().__init__(shape)

        at_least(1, components=components, iterations=iterations)
        above_zero(floor=floor)
        one_of(get_args(Covariance), covariance=covariance)
        pixels = math.prod(shape)
        check("pca_dim", pca_dim, pixels, "pixels")
        self.latent_dim = components
        self.covariance, self.floor, self.iterations = covariance, floor, iterations
        self.mean = frozen(torch.zeros(pixels))
        self.axes = frozen(torch.eye(pca_dim, pixels))
        self.variance = frozen(torch.ones(()))
        self.weights = frozen(torch.full((components,), 1 / components))
        self.means = frozen(torch.zeros(components, pca_dim))
        self.scale_tril = frozen(torch.eye(pca_dim).repeat(components, 1, 1))
        # Of fixed length, for checkpoints; EM usually stops earlier.
        self.register_buffer("curve", torch.full((iterations,), -torch.inf))

    @property
    def log_likelihoods(self) -> Tensor:
        """The mean log-likelihood of the training images before each iteration, in nats."""
        return self.curve[self.curve.isfinite()]

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the log-density of images (B, C, H, W), in nats, shape (B,)."""
        z = self._project(x)
        error = squared_distance(x, self._restore(z))
        return self._log_joint(z).logsumexp(1) + self._log_noise(error)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self._log_joint(self._project(x)).softmax(1)

    def cluster(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the index of each image's most probable component, shape (B,)."""
        return self.encode(x).argmax(1)

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self._restore(z @ self.means)

    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw images (n, C, H, W) from the mixture; like a VAE's, without pixel noise."""
        k = torch.multinomial(self.weights, n, replacement=True)
        z = MultivariateNormal(self.means[k], scale_tril=self.scale_tril[k]).sample()
        return self._restore(z).clamp(0, 1)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        return super().terms(batch) | {"loss": -self.log_prob(batch.x)}

    def learn(self, x: Tensor) -> None:
        from sklearn import decomposition

        check("components", self.latent_dim, len(x), "images")
        check("pca_dim", len(self.axes), len(x), "images")
        plane = decomposition.PCA(len(self.axes), random_state=0)
        z = plane.fit_transform(x.numpy())
        self.mean.copy_(torch.from_numpy(plane.mean_))
        self.axes.copy_(torch.from_numpy(plane.components_))
        restored = torch.from_numpy(plane.inverse_transform(z))
        error = (x - restored).square().sum(1).mean().to(self.variance)
        # The maximum-likelihood variance of the remaining directions, if there are any.
        self.variance.copy_((error / max(1, self._off_plane)).clamp(min=self.floor))
        self._climb(z, self._log_noise(error).item())

    def _climb(self, z: "NDArray[np.float32]", log_noise: float) -> None:
        """Run EM on points (N, pca_dim); `log_noise` is added to each log-likelihood."""
        em = self._fitted(z)
        if not em.converged_:
            print(
                f"EM stopped at --model.iterations {self.iterations} before it converged; raise "
                "it.",
                file=sys.stderr,
            )
        covariances = torch.from_numpy(em.covariances_)
        full = covariances if self.covariance == "full" else covariances.diag_embed()
        self.weights.copy_(torch.from_numpy(em.weights_))
        self.means.copy_(torch.from_numpy(em.means_))
        self.scale_tril.copy_(torch.linalg.cholesky(full))
        self._log([bound + log_noise for bound in em.lower_bounds_])

    def _fitted(self, z: "NDArray[np.float32]") -> Any:
        """Return scikit-learn's mixture, fitted to points (N, pca_dim)."""
        from sklearn import mixture
        from sklearn.exceptions import ConvergenceWarning

        em = mixture.GaussianMixture(
            self.latent_dim,
            covariance_type=self.covariance,
            reg_covar=self.floor,
            max_iter=self.iterations,
            random_state=self.seed,
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # a message of our own follows
                em.fit(z.astype("float64"))  # so that rounding does not hide EM's gains
        except ValueError as error:
            raise LabError(
                "A component collapsed on too few images; raise --model.floor or lower "
                f"--model.components or --model.pca_dim. EM says: {error}"
            ) from error
        return em

    def _log(self, curve: list[float]) -> None:
        """Store the log-likelihood of each iteration, and log it."""
        self.curve[: len(curve)] = torch.tensor(curve)
        for logger in self.loggers:
            for iteration, value in enumerate(curve, 1):
                logger.log_metrics({"train/log_likelihood": value}, iteration)

    @property
    def _off_plane(self) -> int:
        return len(self.mean) - len(self.axes)

    def _project(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - self.mean) @ self.axes.T

    def _restore(self, z: Tensor) -> Tensor:
        return (z @ self.axes + self.mean).reshape(-1, *self.shape)

    def _log_joint(self, z: Tensor) -> Tensor:
        """Return log(pi_k) + log N(z; mu_k, Sigma_k) for points (B, D), shape (B, K)."""
        # Argument checks read values, which cannot be traced for export.
        normals = MultivariateNormal(self.means, scale_tril=self.scale_tril, validate_args=False)
        # torch.distributions annotates none of its methods.
        log_probs: Tensor = normals.log_prob(z[:, None])  # type: ignore[no-untyped-call]
        return self.weights.log() + log_probs

    def _log_noise(self, error: Tensor) -> Tensor:
        """Return the log-density of the residual outside the PCA plane, from its squared norm."""
        constant = self._off_plane * torch.log(2 * math.pi * self.variance)
        return -0.5 * (constant + error / self.variance)
