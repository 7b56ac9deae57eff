"""Variational autoencoders."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vae_lab.contracts import Batch, Shape
from vae_lab.errors import LabError
from vae_lab.likelihoods import Bernoulli, Likelihood
from vae_lab.losses import free_bits, importance_bound
from vae_lab.models.base import MakeDecoder, MakeEncoder, Model, Schedule
from vae_lab.nets import MLPDecoder, MLPEncoder
from vae_lab.posteriors import DiagonalGaussian
from vae_lab.priors import Prior, StandardNormal

__all__ = ["VAE"]


class VAE(Model):
    r"""Maximises a lower bound on the log-likelihood of the images.

    .. math::
        \log p(x) \ge \mathbb{E}_{q(z | x)} [\log p(x | z)] - \beta\, KL(q(z | x) \| p(z))

    With `importance_samples` K > 1 the objective is the tighter bound

    .. math:: \log \frac{1}{K} \sum_k \frac{p(x | z_k)\, p(z_k)}{q(z_k | x)}

    The plain bound, at beta = 1, is logged as `elbo` whatever is trained.

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        latent_dim: Size of the code.
        encoder: Network from images to the posterior's means and log-variances.
        decoder: Network from codes to images.
        likelihood: What the decoder's output says of an image.
        prior: What codes look like before any image was seen.
        beta: Weight of the divergence.
        free_bits: Nats of divergence granted to each dimension at no cost.
        warmup: Training steps over which the divergence's weight rises from 0 to beta.
        samples: Codes drawn for an image to average its bound (L in Kingma & Welling).
        importance_samples: Codes drawn inside the logarithm of one bound (K in Burda et al.).
        lr: Learning rate of Adam.
        schedule: Learning-rate schedule of torch.optim.lr_scheduler, stepped once an epoch.

    Raises:
        LabError: If a size, weight or count is out of its range.

    References:
        Kingma & Welling, Auto-Encoding Variational Bayes, 2014. https://arxiv.org/abs/1312.6114
        Burda et al., Importance Weighted Autoencoders, 2016. https://arxiv.org/abs/1509.00519
        Higgins et al., beta-VAE, 2017. https://openreview.net/forum?id=Sy2fzU9gl
    """

    def __init__(
        self,
        shape: Shape,
        latent_dim: int = 20,
        encoder: MakeEncoder = MLPEncoder,
        decoder: MakeDecoder = MLPDecoder,
        likelihood: Callable[[], Likelihood] = Bernoulli,
        prior: Callable[[int], Prior] = StandardNormal,
        beta: float = 1.0,
        free_bits: float = 0.0,
        warmup: int = 0,
        samples: int = 1,
        importance_samples: int = 1,
        lr: float = 1e-3,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(shape, lr, schedule)

        if min(latent_dim, samples, importance_samples) < 1:
            raise LabError("latent_dim, samples and importance_samples are all at least 1.")
        if not all(0 <= weight < math.inf for weight in (beta, free_bits, warmup)):
            raise LabError("beta, free_bits and warmup are finite and not negative.")
        if free_bits and importance_samples > 1:
            raise LabError("free_bits needs the divergence itself: set importance_samples to 1.")
        self.latent_dim = latent_dim
        self.beta = beta
        self.free_bits = free_bits
        self.warmup = warmup
        self.samples = samples
        self.importance_samples = importance_samples

        self.likelihood = likelihood()
        self.prior = prior(latent_dim)
        channels, height, width = shape
        self.encoder = encoder(shape, 2 * latent_dim)
        self.decoder = decoder(latent_dim, (channels * self.likelihood.channels, height, width))

    def posterior(self, x: Tensor) -> DiagonalGaussian:
        """Return q(z|x) for images (B, C, H, W)."""
        return DiagonalGaussian.from_features(self.encoder(x))

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the posterior means of images (B, C, H, W), shape (B, latent_dim)."""
        return self.posterior(x).mean

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the mean images of codes (B, latent_dim), shape (B, C, H, W), in [0, 1]."""
        return self.likelihood.mean(self.decoder(z))

    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw codes from the prior and return their mean images, shape (n, C, H, W)."""
        return self.decode(self.prior.sample(n, self.device))

    def forward(self, x: Tensor) -> Tensor:
        """Restore images (B, C, H, W) from their posterior means."""
        return self.decode(self.encode(x))

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        posterior = self.posterior(batch.x)
        z = posterior.rsample(self.samples * self.importance_samples)
        log_likelihood = self.log_likelihood(batch.x, z)
        reconstruction = -log_likelihood.mean(0)
        kl = self.prior.kl(posterior)
        if self.importance_samples > 1:
            ratio = self.prior.log_prob(z) - posterior.log_prob(z)
            weights = log_likelihood + self.kl_weight * ratio
            shape = (self.importance_samples, self.samples, len(batch.x))
            loss = -importance_bound(weights.view(shape)).mean(0)
        else:
            charged = free_bits(kl, self.free_bits) if self.free_bits else kl.sum(1)
            loss = torch.add(reconstruction, charged, alpha=self.kl_weight)
        kl = kl.sum(1)
        return {
            "loss": loss,
            "reconstruction": reconstruction,
            "kl": kl,
            "elbo": -(reconstruction + kl),
        }

    def log_weights(self, x: Tensor, samples: int, y: Tensor | None = None) -> Tensor:
        """Draw log p(x, z) - log q(z|x) for images (B, C, H, W), shape (samples, B), in nats."""
        posterior = self.posterior(x)
        z = posterior.rsample(samples)
        return self.log_likelihood(x, z) + self.prior.log_prob(z) - posterior.log_prob(z)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x|z) of images (B, C, H, W) for codes (n, B, D), shape (n, B), in nats."""
        output = self.decoder(z.flatten(0, 1)).unflatten(0, z.shape[:2])
        return self.likelihood.log_prob(output, x)

    @property
    def kl_weight(self) -> float:
        """The divergence's weight at this step of the warm-up, beta outside training."""
        if not (self.training and self.warmup):
            return self.beta
        return self.beta * min(1.0, self.global_step / self.warmup)
