"""VAE_Dis_l: a VAE whose reconstruction error is measured by a trained GAN's critic."""

import torch
from torch import Tensor, nn

from vae_lab.arguments import at_least, not_negative
from vae_lab.contracts import Batch, Shape
from vae_lab.errors import LabError
from vae_lab.losses import gaussian_kl, squared_distance
from vae_lab.models.base import MakeDecoder, MakeEncoder, Model, Schedule
from vae_lab.models.gan import GAN
from vae_lab.models.single import SingleObjective
from vae_lab.models.start import MakeModel, Start, described, started
from vae_lab.nets import MLPEncoder, MLPGenerator, encoded, tried
from vae_lab.nets.layers import check_layer, to_layer
from vae_lab.posteriors import DiagonalGaussian
from vae_lab.precision import at_least_single

__all__ = ["VAEDis"]


class VAEDis(SingleObjective):
    r"""A VAE whose reconstruction error is in the features of a fixed, pretrained critic.

    .. math::
        \beta\, KL(q(z | x) \| N(0, I)) + \frac{1}{2} \|D_l(x) - D_l(\hat x)\|^2, \quad
        \hat x = \frac{1}{2} (1 + \tanh G(z))

    The second term is, up to a constant, the negative log-likelihood of a unit-variance Gaussian
    over the features of the critic's l-th layer; `feature_error` is logged as twice this term. The
    bound is one on features and cannot be compared with bounds on pixels. `pixel_error` is the
    squared error of the same reconstructions, from sampled codes; an evaluation uses means.

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        gan: The checkpoint of a trained GAN (on the command line also its run folder, such as
            runs/dcgan_mnist), or the class of a GAN, whose critic then has random weights. This
            model's checkpoint needs neither afterwards.
        layer: The critic's layer l, counted from 0, including normalisations and activations.
        latent_dim: Size of the code.
        encoder: Network from images to the parameters of q(z|x).
        decoder: Network from codes to images, such as a GAN's generator.
        beta: Weight of the KL divergence.
        lr: Learning rate of Adam.
        schedule: Learning-rate schedule of torch.optim.lr_scheduler, stepped once an epoch.

    Raises:
        LabError: If there is no such checkpoint, its model has no critic or another image shape,
            the critic has no such layer, or a number is out of range.

    References:
        Larsen et al., Autoencoding beyond pixels using a learned similarity metric, 2016,
        section 4. https://arxiv.org/abs/1512.09300
    """

    def __init__(
        self,
        shape: Shape,
        gan: Start | MakeModel = GAN,
        layer: int = 2,
        latent_dim: int = 64,
        encoder: MakeEncoder = MLPEncoder,
        decoder: MakeDecoder = MLPGenerator,
        beta: float = 1.0,
        lr: float = 1e-3,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(shape, lr, schedule)

        at_least(1, latent_dim=latent_dim)
        not_negative(beta=beta)
        if isinstance(gan, str):
            source = started(gan, shape)
            self.hparams["gan"] = described(source, VAEDis, "gan")
        else:
            source = gan(shape)
        self.critic = check_layer(_critic(source, gan), layer)
        self.layer = layer
        self.latent_dim = latent_dim
        self.beta = beta
        self.encoder = tried(encoder(shape, 2 * latent_dim), shape, (2 * latent_dim,))
        self.decoder = tried(decoder(latent_dim, shape), (latent_dim,), shape)
        self.train()

    def train(self, mode: bool = True) -> "VAEDis":
        super().train(mode)
        # The critic measures the error, so it must not change with the model.
        self.critic.eval()
        return self

    def posterior(self, x: Tensor, y: Tensor | None = None) -> DiagonalGaussian:
        """Return q(z|x) for images (B, C, H, W)."""
        return DiagonalGaussian.from_features(encoded(self.encoder, x, 2 * self.latent_dim))

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the posterior means of images (B, C, H, W), shape (B, latent_dim)."""
        return self.posterior(x).mean

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the images of codes (B, latent_dim), shape (B, C, H, W), in [0, 1]."""
        images: Tensor = at_least_single(self.decoder(z))
        return 0.5 + 0.5 * images.tanh()

    def draw_codes(self, n: int) -> Tensor:
        """Draw codes from the prior, shape (n, latent_dim), from the global random stream."""
        return torch.randn(n, self.latent_dim, device=self.device)

    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw images, shape (n, C, H, W), in [0, 1]."""
        return self.decode(self.draw_codes(n))

    def perceive(self, x: Tensor) -> Tensor:
        """Return the features of images (B, C, H, W) at the critic's layer l."""
        return to_layer(self.critic, self.layer, 2 * x - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct images (B, C, H, W) from their posterior means."""
        return self.decode(self.encode(x))

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        posterior = self.posterior(batch.x)
        restored = self.decode(posterior.rsample(1)[0])
        kl = gaussian_kl(*posterior).sum(1)
        error = squared_distance(self.perceive(batch.x), self.perceive(restored))
        return {
            "loss": 0.5 * error + self.beta * kl,
            "kl": kl,
            "feature_error": error,
            "pixel_error": squared_distance(batch.x, restored),
        }


def _critic(source: Model, named: object) -> nn.Module:
    """Return a model's critic, frozen."""
    critic = getattr(source, "critic", None)
    if not isinstance(critic, nn.Module):
        where = f"The {type(source).__name__} of {named}" if isinstance(named, str) else str(named)
        raise LabError(f"{where} has no critic to measure by; give a GAN's run as --model.gan.")
    return critic.requires_grad_(False)
