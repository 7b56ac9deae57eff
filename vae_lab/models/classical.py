"""Baselines fitted by scikit-learn to all images at once: PCA and k-means."""

import math
from abc import abstractmethod
from typing import Any, cast

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.optim import SGD, Optimizer

from vae_lab.arguments import at_least
from vae_lab.contracts import Batch, Shape
from vae_lab.errors import LabError
from vae_lab.losses import squared_distance
from vae_lab.models.base import Model
from vae_lab.words import counted

__all__ = ["PCA", "Classical", "KMeans", "check", "frozen"]


class Classical(Model):
    """Base of models fitted to all training images at once, after one pass that collects them.

    The fit happens on the pass's last batch, before validation, pictures and checkpoints. There
    are no gradients; parameters are stored and moved like those of any model.

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.

    Raises:
        LabError: If a side is not positive; in training, if there is more than one epoch or
            process, the precision is not single, or `max_steps` ends the pass early.
    """

    bounded = False  # a linear decoder is not clipped
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
        """Return the reconstructions of images (B, C, H, W)."""
        return self.decode(self.encode(x))

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        error = squared_distance(self(batch.x), batch.x)
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
        # It never gets a gradient, but Lightning counts optimiser steps, and saves no checkpoint
        # before the first.
        return SGD(self.parameters())

    def on_train_start(self) -> None:
        if -1 < self.trainer.max_steps < self.trainer.num_training_batches:
            raise LabError(
                f"{type(self).__name__} is fitted once it has seen all images, after "
                f"{counted(int(self.trainer.num_training_batches), 'step')}, which "
                "--trainer.max_steps forbids."
            )

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        cast(LightningOptimizer, self.optimizers()).step()
        self._batches.append(batch)
        if batch_idx + 1 == self.trainer.num_training_batches:
            self._learn_all()

    def _learn_all(self) -> None:
        images = torch.cat([batch.x for batch in self._batches]).flatten(1).cpu()
        self.learn(images)
        # Only now: by this number checkpoints know whether the model was fitted.
        self.images_seen = len(images)
        for batch in self._batches:
            self._meters["train"].add(self.terms(batch))
        self._batches.clear()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if not self.images_seen:
            raise LabError(
                f"The checkpoint was written before {type(self).__name__} was fitted; start anew."
            )


class PCA(Classical):
    r"""Principal component analysis, the best linear autoencoder.

    .. math:: z = W (x - \bar x), \quad \hat x = \bar x + W^T z

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        latent_dim: Number of components.

    Raises:
        LabError: If there are fewer pixels or images than components, see also `Classical`.

    References:
        Hotelling, Analysis of a complex of statistical variables into principal components, 1933.
        https://doi.org/10.1037/h0071325
    """

    def __init__(self, shape: Shape, latent_dim: int = 30) -> None:
        super().__init__(shape)

        pixels = math.prod(shape)
        check("latent_dim", latent_dim, pixels, "pixels")
        self.latent_dim = latent_dim
        self.mean = frozen(torch.zeros(pixels))
        self.components = frozen(torch.zeros(latent_dim, pixels))

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return (x.flatten(1) - self.mean) @ self.components.T

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return (z @ self.components + self.mean).reshape(-1, *self.shape)

    def learn(self, x: Tensor) -> None:
        from sklearn import decomposition

        check("latent_dim", self.latent_dim, len(x), "images")
        # The seed matters for large images only, whose components come from random projections.
        found = decomposition.PCA(self.latent_dim, random_state=0).fit(x.numpy())
        self.mean.copy_(torch.from_numpy(found.mean_))
        self.components.copy_(torch.from_numpy(found.components_))


class KMeans(Classical):
    r"""k-means clustering: the code is one-hot, and decodes to the nearest centroid.

    .. math:: \min_\mu \sum_n \min_k \| x_n - \mu_k \|^2

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        clusters: Number of centroids.
        restarts: Number of k-means++ initialisations; the best result is kept.

    Raises:
        LabError: If a number is not positive or there are fewer images than clusters, or see
            `Classical`.

    References:
        Lloyd, Least squares quantization in PCM, 1982. https://doi.org/10.1109/TIT.1982.1056489
        Arthur & Vassilvitskii, k-means++: The Advantages of Careful Seeding, 2007.
    """

    def __init__(self, shape: Shape, clusters: int = 10, restarts: int = 10) -> None:
        super().__init__(shape)

        at_least(1, clusters=clusters, restarts=restarts)
        self.latent_dim = clusters
        self.restarts = restarts
        self.centroids = frozen(torch.zeros(clusters, math.prod(shape)))

    def cluster(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the index of the centroid nearest to each image (B, C, H, W), shape (B,)."""
        # By default torch chooses by batch size, which an exported program cannot.
        mode = "use_mm_for_euclid_dist"
        return torch.cdist(x.flatten(1), self.centroids, compute_mode=mode).argmin(1)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return one_hot(self.cluster(x), self.latent_dim).to(x)

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return (z @ self.centroids).reshape(-1, *self.shape)

    def learn(self, x: Tensor) -> None:
        from sklearn import cluster

        check("clusters", self.latent_dim, len(x), "images")
        lloyd = cluster.KMeans(self.latent_dim, n_init=self.restarts, random_state=self.seed)
        self.centroids.copy_(torch.from_numpy(lloyd.fit(x.numpy()).cluster_centers_))


def frozen(values: Tensor) -> nn.Parameter:
    """Return a parameter without a gradient, which is stored and moved but never stepped."""
    return nn.Parameter(values, requires_grad=False)


def check(name: str, value: int, most: int, what: str) -> None:
    """Refuse a number below 1 or above `most`.

    Raises:
        LabError: If `value` is not between 1 and `most`.
    """
    if not 1 <= value <= most:
        raise LabError(f"{name} is between 1 and the number of {what}, {most}; it is {value}.")
