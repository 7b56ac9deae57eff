"""What came before deep nets, fitted by scikit-learn: PCA, k-means, a Gaussian mixture by EM."""

from abc import abstractmethod
from typing import Any, Literal, cast

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal
from torch.nn.functional import one_hot
from torch.optim import SGD, Optimizer

from vae_lab.contracts import Batch, Shape
from vae_lab.errors import LabError
from vae_lab.models.base import Model
from vae_lab.precision import at_least_single

__all__ = ["PCA", "Classical", "GaussianMixture", "KMeans"]


class Classical(Model):
    """Is fitted to all training images at once, after a single pass that collects them.

    The last step of that pass fits, so that validation, pictures and checkpoints find the result.
    There are no gradients; the parameters are there to be stored and moved like any other's.

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.

    Raises:
        LabError: If a side is not positive, or, in training, if there is more than one epoch or
            process, the precision is not single, or the pass ends before the last image.
    """

    latent_dim: int

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)

        self.automatic_optimization = False

    @abstractmethod
    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the codes of images (B, C, H, W), shape (B, latent_dim)."""

    @abstractmethod
    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the images of codes (B, latent_dim), shape (B, C, H, W), not clipped."""

    @abstractmethod
    def learn(self, x: Tensor) -> None:
        """Fit to flattened images (N, D) on the CPU, with `self.seed`."""

    def forward(self, x: Tensor) -> Tensor:
        """Restore images (B, C, H, W)."""
        return self.decode(self.encode(x))

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        error = at_least_single(self(batch.x) - batch.x).square().flatten(1).sum(1)
        return {"loss": error, "squared_error": error}

    def setup(self, stage: str) -> None:
        super().setup(stage)
        trainer = self.trainer
        found = (trainer.max_epochs, trainer.world_size, trainer.precision)
        if stage == "fit" and found != (1, 1, "32-true"):
            raise LabError(
                f"{type(self).__name__} is fitted to all images at once, in single precision: "
                "set --trainer.max_epochs 1, --trainer.devices 1 and --trainer.precision 32-true."
            )
        self._batches: list[Batch] = []

    def configure_optimizers(self) -> Optimizer:
        # It finds no gradients; but what Lightning counts as steps is those of an optimiser, and
        # before the first step it saves no checkpoint.
        return SGD(self.parameters())

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        cast(LightningOptimizer, self.optimizers()).step()
        self._batches.append(batch)
        if batch_idx + 1 == self.trainer.num_training_batches:
            self._learn_all()

    def _learn_all(self) -> None:
        images = torch.cat([batch.x for batch in self._batches]).flatten(1).cpu()
        self.learn(images)
        # Only now has anything been learned of them.
        self.images_seen = len(images)
        for batch in self._batches:
            self._meters["train"].add(self.terms(batch))
        self._batches.clear()

    def on_train_epoch_end(self) -> None:
        if not self.images_seen:
            raise LabError(
                f"Training stopped before {type(self).__name__} had seen all images, to which it "
                "is fitted at once; leave out --trainer.max_steps and max_time."
            )
        super().on_train_epoch_end()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if not self.images_seen:
            raise LabError(
                f"The checkpoint was written before {type(self).__name__} was fitted; start anew."
            )


class PCA(Classical):
    r"""Projects images on their principal components, and back: the best linear autoencoder.

    .. math:: z = W (x - \bar x), \quad \hat x = \bar x + W^T z

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        latent_dim: How many components.

    Raises:
        LabError: If there are fewer pixels or images than components, or see `Classical`.

    References:
        Hotelling, Analysis of a complex of statistical variables into principal components, 1933.
        https://doi.org/10.1037/h0071325
    """

    def __init__(self, shape: Shape, latent_dim: int = 30) -> None:
        super().__init__(shape)

        pixels = shape[0] * shape[1] * shape[2]
        _check("latent_dim", latent_dim, pixels, "pixels")
        self.latent_dim = latent_dim
        self.mean = _parameter(torch.zeros(pixels))
        self.components = _parameter(torch.zeros(latent_dim, pixels))

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return (x.flatten(1) - self.mean) @ self.components.T

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return (z @ self.components + self.mean).unflatten(1, self.shape)

    def learn(self, x: Tensor) -> None:
        from sklearn import decomposition

        _check("latent_dim", self.latent_dim, len(x), "images")
        # The state matters only for large images, where components come from random projections.
        found = decomposition.PCA(self.latent_dim, random_state=0).fit(x.numpy())
        _set(self.mean, found.mean_)
        _set(self.components, found.components_)


class KMeans(Classical):
    r"""Replaces each image by the nearest of a few centroids; a code says by which.

    .. math:: \min_\mu \sum_n \min_k \| x_n - \mu_k \|^2

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        clusters: How many centroids.
        restarts: How often k-means++ and Lloyd's iterations begin anew; the best result stays.

    Raises:
        LabError: If a number is not positive or there are fewer images than clusters, or see
            `Classical`.

    References:
        Lloyd, Least squares quantization in PCM, 1982. https://doi.org/10.1109/TIT.1982.1056489
        Arthur & Vassilvitskii, k-means++: The Advantages of Careful Seeding, 2007.
    """

    def __init__(self, shape: Shape, clusters: int = 10, restarts: int = 10) -> None:
        super().__init__(shape)

        if min(clusters, restarts) < 1:
            raise LabError(
                f"clusters and restarts are at least 1; got {clusters} and {restarts}."
            )
        self.latent_dim = clusters
        self.restarts = restarts
        self.centroids = _parameter(torch.zeros(clusters, shape[0] * shape[1] * shape[2]))

    def cluster(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the nearest centroid's number for images (B, C, H, W), shape (B,)."""
        return torch.cdist(x.flatten(1), self.centroids).argmin(1)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return one_hot(self.cluster(x), self.latent_dim).to(x)

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return (z @ self.centroids).unflatten(1, self.shape)

    def learn(self, x: Tensor) -> None:
        from sklearn import cluster

        _check("clusters", self.latent_dim, len(x), "images")
        lloyd = cluster.KMeans(self.latent_dim, n_init=self.restarts, random_state=self.seed)
        _set(self.centroids, lloyd.fit(x.numpy()).cluster_centers_)


class GaussianMixture(Classical):
    r"""Describes images by a few normal distributions in the plane of their principal components.

    .. math:: p(x) = \sum_k \pi_k \mathcal{N}(z; \mu_k, \Sigma_k)
        \; \mathcal{N}(x - \hat x; 0, \sigma^2), \quad z = W (x - \bar x), \;
        \hat x = \bar x + W^T z

    PCA splits the space of images in two: `pca_dim` directions, in which EM fits the mixture, and
    those off the plane, where one variance holds for all (Tipping & Bishop, 1999), as a full
    covariance of all pixels would be singular: many never change. The product is a density of the
    whole image. A code is the probability of each component given the image.

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        components: How many normal distributions.
        pca_dim: How many principal components EM sees.
        covariance: full, or diag for one variance a principal component.
        floor: Added to variances, so that a component cannot collapse on a few images.
        iterations: EM's at most; it stops earlier once an iteration gains below 0.001 nats.

    Raises:
        LabError: If a number is out of range, there are fewer pixels or images than `pca_dim` or
            fewer images than components, or a component collapses; or see `Classical`.

    References:
        Dempster et al., Maximum Likelihood from Incomplete Data via the EM Algorithm, 1977.
        Tipping & Bishop, Mixtures of Probabilistic Principal Component Analysers, 1999.
        https://doi.org/10.1162/089976699300016728
    """

    def __init__(
        self,
        shape: Shape,
        components: int = 10,
        pca_dim: int = 50,
        covariance: Literal["full", "diag"] = "full",
        floor: float = 1e-6,
        iterations: int = 200,
    ) -> None:
        super().__init__(shape)

        if min(components, iterations) < 1 or not floor > 0:
            raise LabError(
                "components and iterations are at least 1 and floor is above 0; "
                f"got {components}, {iterations} and {floor}."
            )
        pixels = shape[0] * shape[1] * shape[2]
        _check("pca_dim", pca_dim, pixels, "pixels")
        self.latent_dim = components
        self.covariance, self.floor, self.iterations = covariance, floor, iterations
        self.mean = _parameter(torch.zeros(pixels))
        self.axes = _parameter(torch.eye(pca_dim, pixels))
        self.noise = _parameter(torch.ones(()))
        self.weights = _parameter(torch.full((components,), 1 / components))
        self.means = _parameter(torch.zeros(components, pca_dim))
        self.scale_tril = _parameter(torch.eye(pca_dim).repeat(components, 1, 1))
        # Of a fixed length, for checkpoints; EM mostly stops before.
        self.register_buffer("curve", torch.full((iterations,), torch.nan))
