"""Deterministic autoencoders."""

from collections.abc import Callable

import torch
from torch import Tensor

from vae_lab.contracts import Batch, Shape
from vae_lab.errors import LabError
from vae_lab.likelihoods import Bernoulli, Likelihood
from vae_lab.models.base import MakeDecoder, MakeEncoder, Model, Schedule
from vae_lab.nets import MLPDecoder, MLPEncoder

__all__ = ["Autoencoder"]


class Autoencoder(Model):
    r"""Compresses images to codes and restores them.

    .. math:: \min - \log p(x | z = f(x))

    A Gaussian likelihood of fixed scale makes this the least squared error, a Bernoulli one the
    least cross-entropy. The squared error is logged beside either.

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        latent_dim: Size of the code.
        encoder: Network from images to codes.
        decoder: Network from codes to images.
        likelihood: What the decoder's output says of an image.
        lr: Learning rate of Adam.
        schedule: Learning-rate schedule of torch.optim.lr_scheduler, stepped once an epoch.

    Raises:
        LabError: If a size is not positive.

    References:
        Hinton & Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, 2006.
        https://doi.org/10.1126/science.1127647
    """

    def __init__(
        self,
        shape: Shape,
        latent_dim: int = 30,
        encoder: MakeEncoder = MLPEncoder,
        decoder: MakeDecoder = MLPDecoder,
        likelihood: Callable[[], Likelihood] = Bernoulli,
        lr: float = 1e-3,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(shape, lr, schedule)

        if latent_dim < 1:
            raise LabError(f"latent_dim is the size of the code, at least 1; got {latent_dim}.")
        self.latent_dim = latent_dim
        self.likelihood = likelihood()
        channels, height, width = shape
        self.encoder = encoder(shape, latent_dim)
        self.decoder = decoder(latent_dim, (channels * self.likelihood.channels, height, width))

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the codes of images (B, C, H, W), shape (B, latent_dim)."""
        codes: Tensor = self.encoder(x)
        return codes

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the images of codes (B, latent_dim), shape (B, C, H, W), in [0, 1]."""
        return self.likelihood.mean(self.decoder(z))

    def forward(self, x: Tensor) -> Tensor:
        """Restore images (B, C, H, W)."""
        return self.decode(self.encode(x))

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        output = self.decoder(self.encoder(batch.x))
        reconstruction = -self.likelihood.log_prob(output, batch.x)
        with torch.no_grad():
            error = (self.likelihood.mean(output) - batch.x).square().flatten(1).sum(1)
        return {"loss": reconstruction, "squared_error": error}
