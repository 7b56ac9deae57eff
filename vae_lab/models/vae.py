"""Variational autoencoders."""

from collections.abc import Callable

from torch import Tensor

from vae_lab.arguments import at_least, not_negative
from vae_lab.contracts import Batch, Shape
from vae_lab.errors import LabError
from vae_lab.likelihoods import Bernoulli, Likelihood
from vae_lab.losses import capacity, free_bits, importance_bound, total_correlation
from vae_lab.models.base import MakeDecoder, MakeEncoder, Schedule
from vae_lab.models.single import SingleObjective
from vae_lab.nets import Decoder, Encoder, MLPDecoder, MLPEncoder, encoded, tried
from vae_lab.posteriors import DiagonalGaussian, Family, Gaussian, Posterior
from vae_lab.priors import CodeDensity, Prior, StandardNormal
from vae_lab.words import article

__all__ = ["VAE"]


class VAE(SingleObjective):
    r"""Maximises a lower bound on the log-likelihood of images.

    .. math::
        \log p(x) \ge \mathbb{E}_{q(z | x)} [\log p(x | z)] - \beta\, KL(q(z | x) \| p(z)),
        \quad \beta \ge 1

    With `importance_samples` K > 1 the objective is the following, which is a tighter bound for
    beta = 1:

    .. math:: \log \frac{1}{K} \sum_k p(x | z_k) \left( \frac{p(z_k)}{q(z_k | x)} \right)^\beta

    The ELBO at beta = 1 is logged as `elbo` whatever the objective is. It is not logged for the
    relaxed codes that discrete posteriors are trained with, for which it is no bound.

    A model of p(x|y) overrides `posterior`, `prior_given` and `output`, which take a condition y.

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        latent_dim: Size of the code.
        encoder: Network from images to the parameters of q(z|x).
        decoder: Network from codes to images.
        likelihood: p(x|z), parametrised by the decoder's output.
        prior: p(z).
        posterior: The family of q(z|x).
        beta: Weight of the KL divergence; below 1 the objective is not a bound.
        free_bits: Least KL divergence in nats that each dimension is charged for, compared with
            its mean over the batch.
        capacity: Target C of the KL divergence in nats: the term is beta |KL - C|, with beta
            1,000 in Burgess et al. With 0 it is beta KL.
        total_correlation: Weight of the total correlation, which is added to what beta already
            gives it: the beta of a beta-TCVAE is 1 plus this, at beta = 1 here.
        warmup: Training steps over which the KL weight rises from 0 to beta or, with a capacity,
            C rises from 0.
        samples: Codes per image over which the bound is averaged (L in Kingma & Welling).
        importance_samples: Codes inside the logarithm of one bound (K in Burda et al.).
        doubly_reparameterised: Use the doubly reparameterised gradient estimator, which has the
            same expectation and less variance; needs `importance_samples` of at least 2.
        lr: Learning rate of Adam.
        schedule: Learning-rate schedule of torch.optim.lr_scheduler, stepped once an epoch.

    Raises:
        LabError: If a size, weight or count is out of range, or two parts do not fit together.

    References:
        Kingma & Welling, Auto-Encoding Variational Bayes, 2014. https://arxiv.org/abs/1312.6114
        Burda et al., Importance Weighted Autoencoders, 2016. https://arxiv.org/abs/1509.00519
        Higgins et al., beta-VAE, 2017. https://openreview.net/forum?id=Sy2fzU9gl
        Tucker et al., Doubly Reparameterized Gradient Estimators, 2019.
        https://arxiv.org/abs/1810.04152
        Kingma et al., Improving Variational Inference with Inverse Autoregressive Flow, 2016, has
        the free bits. https://arxiv.org/abs/1606.04934
        Burgess et al., Understanding Disentangling in beta-VAE, 2018, have the capacity.
        https://arxiv.org/abs/1804.03599
        Chen et al., Isolating Sources of Disentanglement in VAEs, 2018, have the total correlation.
        https://arxiv.org/abs/1802.04942
    """

    def __init__(
        self,
        shape: Shape,
        latent_dim: int = 20,
        encoder: MakeEncoder = MLPEncoder,
        decoder: MakeDecoder = MLPDecoder,
        likelihood: Callable[[], Likelihood] = Bernoulli,
        prior: Callable[[int, Shape], Prior] = StandardNormal,
        posterior: Callable[[int], Family] = Gaussian,
        beta: float = 1.0,
        free_bits: float = 0.0,
        capacity: float = 0.0,
        total_correlation: float = 0.0,
        warmup: int = 0,
        samples: int = 1,
        importance_samples: int = 1,
        doubly_reparameterised: bool = False,
        lr: float = 1e-3,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(shape, lr, schedule)

        at_least(1, latent_dim=latent_dim, samples=samples, importance_samples=importance_samples)
        not_negative(beta=beta, free_bits=free_bits, capacity=capacity, warmup=warmup)
        not_negative(total_correlation=total_correlation)
        self.latent_dim = latent_dim
        self.beta = beta
        self.free_bits = free_bits
        self.capacity = capacity
        self.total_correlation = total_correlation
        self.warmup = warmup
        self.samples = samples
        self.importance_samples = importance_samples
        self.doubly_reparameterised = doubly_reparameterised

        self.likelihood = likelihood()
        self.prior = prior(latent_dim, shape)
        self.family = posterior(latent_dim)
        self._check_parts()
        channels, height, width = shape
        self.encoder = self._make_encoder(encoder, shape)
        output = (self.likelihood.outputs(channels), height, width)
        self.decoder = self._make_decoder(decoder, output)

    def posterior(self, x: Tensor, y: Tensor | None = None) -> Posterior:
        """Return q(z|x) for images (B, C, H, W)."""
        features = encoded(self.encoder, x, self.family.features)
        posterior: Posterior = self.family(features, self.global_step)
        return posterior

    def prior_given(self, y: Tensor | None = None) -> CodeDensity:
        """Return p(z); recomputed at each call, as a prior may depend on the encoder."""
        return self.prior.given(self.posterior)

    def output(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the decoder's output for codes (..., B, D), shape (..., B, C, H, W)."""
        seen = self.family.seen(z)
        output: Tensor = self.decoder(seen.flatten(0, -2)).unflatten(0, z.shape[:-1])
        return output

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the posterior means of images (B, C, H, W), shape (B, latent_dim)."""
        return self.posterior(x, y).mean

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the mean images of codes (B, latent_dim), shape (B, C, H, W), in [0, 1]."""
        return self.likelihood.mean(self.output(z, y))

    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw codes from the prior and return their mean images, shape (n, C, H, W)."""
        return self.decode(self.prior_given(y).sample(n), y)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct images (B, C, H, W) from their posterior means."""
        return self.decode(self.encode(x))

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        x, y = batch
        posterior, prior = self.posterior(x, y), self.prior_given(y)
        # A relaxed code is not a sample of the discrete posterior; it serves training only.
        draw = posterior.rsample if self.training else posterior.sample
        z = draw(self.samples * self.importance_samples)
        log_likelihood = self.log_likelihood(x, z, y)
        reconstruction = -log_likelihood.mean(0)
        kl = prior.kl(posterior, z)
        found = {"reconstruction": reconstruction, "kl": kl.sum(1)}
        if not (self.training and self.family.classes):
            found["elbo"] = -(reconstruction + found["kl"])
        if self.importance_samples > 1:
            return {"loss": -self._bound(posterior, prior, z, log_likelihood), **found}
        loss = reconstruction + self.kl_weight * self._charge(kl)
        if self.total_correlation:
            assert isinstance(posterior, DiagonalGaussian)  # checked in the constructor
            found["total_correlation"] = total_correlation(
                z, posterior.mean, posterior.log_variance
            ).mean(0)
            loss = loss + self.total_correlation * found["total_correlation"]
        return {"loss": loss, **found}

    def divergences(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return KL(q(z|x) || p(z)) in nats of each image (B, C, H, W) and part of the code."""
        posterior = self.posterior(x, y)
        return self.prior_given(y).kl(posterior, posterior.sample(1))

    def log_weights(self, x: Tensor, samples: int, y: Tensor | None = None) -> Tensor:
        """Draw log p(x, z) - log q(z|x) for images (B, C, H, W), shape (samples, B), in nats."""
        posterior, prior = self.posterior(x, y), self.prior_given(y)
        z = posterior.sample(samples)
        return self.log_likelihood(x, z, y) + prior.log_prob(z) - posterior.log_prob(z)

    def log_likelihood(self, x: Tensor, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return log p(x|z) of images (B, C, H, W) for codes (n, B, D), shape (n, B), in nats."""
        return self.likelihood.log_prob(self.output(z, y), x)

    @property
    def kl_weight(self) -> float:
        """The KL weight at this step of the warm-up; outside training, beta."""
        return self.beta if self.capacity else self.beta * self._warmth

    @property
    def _warmth(self) -> float:
        """The fraction of the warm-up that is over; outside training, 1."""
        if not (self.training and self.warmup):
            return 1.0
        return min(1.0, self.global_step / self.warmup)

    def _charge(self, kl: Tensor) -> Tensor:
        """Return the unweighted KL term of divergences (B, D), shape (B,)."""
        if self.capacity:
            return capacity(kl, self.capacity * self._warmth)
        return free_bits(kl, self.free_bits) if self.free_bits else kl.sum(1)

    def _bound(
        self, posterior: Posterior, prior: CodeDensity, z: Tensor, log_likelihood: Tensor
    ) -> Tensor:
        """Return the bound of K importance weights per image, averaged over L draws, shape (B,)."""
        beta, shape = self.kl_weight, (self.importance_samples, self.samples, -1)
        if self.doubly_reparameterised:
            posterior = posterior.detach()
        ratio = prior.log_prob(z) - posterior.log_prob(z)
        weights = (log_likelihood + beta * ratio).view(shape)
        if self.doubly_reparameterised and z.requires_grad:
            # By Tucker et al.'s identity, here for q to the power of beta, the gradient's part
            # that was detached is a multiple of the part through the codes.
            share = weights.detach().softmax(0).view(*z.shape[:-1], 1)
            scale = 1 - beta + beta * share
            # torch annotates no Tensor.register_hook, and offers no other way to a gradient's hook.
            z.register_hook(scale.mul)  # type: ignore[no-untyped-call]
        return importance_bound(weights).mean(0)

    def _make_encoder(self, make: MakeEncoder, shape: Shape) -> Encoder:
        features = self.family.features
        return tried(make(shape, features), shape, (features,))

    def _make_decoder(self, make: MakeDecoder, output: Shape) -> Decoder:
        visible = self.family.visible
        return tried(make(visible, output), (visible,), output)

    def _check_parts(self) -> None:
        """Refuse parts and objectives that do not fit together."""
        self.prior.check(self.family)
        family, prior = type(self.family).__name__, type(self.prior).__name__
        shaped = self.free_bits or self.capacity or self.total_correlation
        if shaped and self.importance_samples > 1:
            raise LabError(
                "free_bits, capacity and total_correlation need the divergence itself: set "
                "importance_samples to 1."
            )
        if self.free_bits and self.capacity:
            raise LabError("free_bits and capacity each replace the divergence: choose one.")
        if self.free_bits and not isinstance(self.family, self.prior.closed_form):
            raise LabError(
                "free_bits needs the divergence of each dimension, which is not known of "
                f"{article(family)} posterior and {article(prior)} prior."
            )
        if self.total_correlation and not isinstance(self.family, Gaussian):
            raise LabError(
                f"total_correlation needs a Gaussian posterior; this is {article(family)}."
            )
        if self.importance_samples > 1 and self.family.classes:
            raise LabError(
                f"{article(family, 'A')}'s relaxed codes have no importance weights to be trained "
                "by: set importance_samples to 1."
            )
        if self.doubly_reparameterised and self.importance_samples == 1:
            raise LabError("doubly_reparameterised needs importance_samples of 2 at least.")
