"""VAE/GAN: a VAE whose reconstruction error is measured in a critic's features."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from vae_lab.arguments import above_zero
from vae_lab.contracts import Batch, Shape
from vae_lab.losses import gaussian_kl, squared_distance
from vae_lab.models.average import averaged, follow
from vae_lab.models.base import MakeDecoder, MakeEncoder, Schedule
from vae_lab.models.gan import GAN
from vae_lab.models.gate import Gate
from vae_lab.nets import MLPCritic, MLPEncoder, MLPGenerator, encoded, tried
from vae_lab.nets.layers import check_layer, from_layer, to_layer
from vae_lab.posteriors import DiagonalGaussian

__all__ = ["VAEGAN"]


class _Made(NamedTuple):
    """Images in [-1, 1], shape (B, C, H, W), and the codes of the reconstructions.

    Attributes:
        restored: Reconstructions, from codes of the posterior.
        sampled: Samples, from codes of the prior.
        posterior: q(z|x) of the batch.
        z: The codes drawn from it, shape (B, D), in the encoder's graph.
        leaf: The same codes, as a leaf of the generator's graph.
    """

    restored: Tensor
    sampled: Tensor
    posterior: DiagonalGaussian
    z: Tensor
    leaf: Tensor

    def detach(self) -> "_Made":
        """Return the same, cut off from the graph."""
        images = self.restored.detach(), self.sampled.detach()
        return _Made(*images, self.posterior.detach(), self.z.detach(), self.leaf.detach())


class VAEGAN(GAN):
    r"""A VAE whose decoder is a GAN's generator and whose likelihood is on critic features.

    .. math::
        \ell_{encoder} = KL + L_l, \quad \ell_{generator} = \gamma L_l + \ell_G, \quad
        \ell_{critic} = \ell_D, \quad L_l = \frac{1}{2} \|D_l(x) - D_l(\hat x)\|^2

    :math:`D_l(x)` are the features of an image at the critic's l-th layer; :math:`L_l` is, up to a
    constant, the negative log-likelihood of a unit-variance Gaussian around those of the
    reconstruction. Each network minimises only its own terms: the likelihood does not train the
    critic, the adversarial loss not the encoder. If reconstructions are judged besides samples,
    each kind has half the weight of the real images, so that a critic at chance outputs 0.5.

    As the critic learns, its features grow, and `feature_error` with them; `pixel_error`, the
    squared error of the same reconstructions, shows whether they get worse too. Both are of
    sampled codes; an evaluation uses means. They are logged with the critic's output on `real`,
    `fake` and `reconstructed` images and, with a gate, each player's share of steps taken.

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        latent_dim: Size of the code.
        encoder: Network from images to the parameters of q(z|x).
        generator: Network from codes to images.
        critic: Network from images to a score, a chain of layers.
        layer: The critic's layer l, counted from 0, including normalisations and activations. The
            input of a normalisation has an arbitrary scale: if that is small, the KL term
            dominates and the codes carry no information.
        gamma: Weight of the likelihood against the adversarial loss, in the generator's loss; the
            likelihood is a sum over features, so choose it smaller the more there are.
        judge_reconstructions: Whether the critic judges reconstructions too, as in the paper, or
            samples only, as in the authors' program for faces.
        gate: When a player that is too far ahead skips a step; by default never.
        spectral_norm: Scale the critic's weight matrices and kernels to a spectral norm of one.
            Batch norm would undo it: give a ConvCritic `batch_norm` false.
        average: Decay of the moving averages of encoder and generator; 0 disables them.
        critic_steps: Critic steps, one per batch, for each step of the others.
        clip: Largest gradient norm of a network; larger gradients are scaled down to it.
        accumulate: Number of parts that a batch is split into to save memory, their gradients
            summed.
        lr: Learning rate of Adam for encoder and generator.
        critic_lr: Learning rate of Adam for the critic.
        betas: Adam's decay rates of the first and second moments.
        schedule: Learning-rate schedule of torch.optim.lr_scheduler for each network, stepped
            once an epoch.

    Raises:
        LabError: If gamma is not positive, or the critic has no such layer or is not a chain of
            layers; see also `GAN`.

    References:
        Larsen et al., Autoencoding beyond pixels using a learned similarity metric, 2016.
        https://arxiv.org/abs/1512.09300
    """

    critic: nn.Sequential

    def __init__(
        self,
        shape: Shape,
        latent_dim: int = 64,
        encoder: MakeEncoder = MLPEncoder,
        generator: MakeDecoder = MLPGenerator,
        critic: MakeEncoder = MLPCritic,
        layer: int = 2,
        gamma: float = 1e-2,
        judge_reconstructions: bool = True,
        gate: Callable[[], Gate] | None = None,
        spectral_norm: bool = False,
        average: float = 0.999,
        critic_steps: int = 1,
        clip: float | None = None,
        accumulate: int = 1,
        lr: float = 2e-4,
        critic_lr: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(
            shape,
            latent_dim,
            generator,
            critic,
            spectral_norm=spectral_norm,
            average=average,
            critic_steps=critic_steps,
            clip=clip,
            accumulate=accumulate,
            lr=lr,
            critic_lr=critic_lr,
            betas=betas,
            schedule=schedule,
        )
        above_zero(gamma=gamma)
        check_layer(self.critic, layer)
        self.layer = layer
        self.gamma = gamma
        self.judge_reconstructions = judge_reconstructions
        self.gate = gate and gate()
        self.encoder = tried(encoder(shape, 2 * latent_dim), shape, (2 * latent_dim,))
        self.averaged_encoder = averaged(self.encoder) if average else None
        self._moving: dict[str, bool] = {}
        self._entropies: list[tuple[int, Tensor]] = []

    def end_averaging(self) -> None:
        if self.averaged_encoder is not None:
            self.encoder = self.averaged_encoder.requires_grad_()
            self.averaged_encoder = self.averaged = None

    @property
    def opponents(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "generator": self.generator}

    def posterior(self, x: Tensor, y: Tensor | None = None) -> DiagonalGaussian:
        """Return q(z|x) for images (B, C, H, W), from the averaged encoder outside training."""
        average = None if self.training else self.averaged_encoder
        encoder = self.encoder if average is None else average
        return DiagonalGaussian.from_features(encoded(encoder, x, 2 * self.latent_dim))

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the posterior means of images (B, C, H, W), shape (B, latent_dim)."""
        return self.posterior(x).mean

    def perceive(self, x: Tensor) -> Tensor:
        """Return the features of images (B, C, H, W) at the critic's layer l."""
        return to_layer(self.critic, self.layer, 2 * x - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct images (B, C, H, W) from their posterior means."""
        return self.decode(self.encode(x))

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        restored: Tensor = self(batch.x)
        return restored

    def draw(self, batch: Batch) -> Tensor:
        """Draw the posterior's noise and codes of the prior, shape (B, 2 D)."""
        return torch.cat([self.draw_codes(len(batch.x)), self.draw_codes(len(batch.x))], 1)

    def fake(self, batch: Batch, drawn: Tensor) -> _Made:
        noise, from_prior = drawn.chunk(2, 1)
        posterior = self.posterior(batch.x)
        z = torch.addcmul(posterior.mean, (0.5 * posterior.log_variance).exp(), noise)
        # The generator's graph begins at this leaf: gradients reach the encoder only where
        # `opponents_loss` passes them on.
        leaf = z.detach().requires_grad_(torch.is_grad_enabled())
        # In one batch, as batch norm later uses the same statistics for both.
        restored, sampled = self._generate(torch.cat([leaf, from_prior])).chunk(2)
        return _Made(restored, sampled, posterior, z, leaf)

    def critic_terms(self, batch: Batch, fake: _Made, drawn: Tensor) -> dict[str, Tensor]:
        features, real = self._look(2 * batch.x - 1)
        (restored_features, restored), (_, sampled) = map(self._look, fake[:2])
        fakes = [sampled, restored] if self.judge_reconstructions else [sampled]
        if self.training and self.gate is not None:
            self._entropies.append((len(real), _entropies(real, fakes).detach()))
        return {
            "critic_loss": _mean([self.loss.critic(real, score) for score in fakes]),
            "generator_loss": _mean([self.loss.generator(score) for score in fakes]),
            "kl": gaussian_kl(*fake.posterior).sum(1),
            "feature_error": squared_distance(features, restored_features),
            "pixel_error": squared_distance(batch.x, 0.5 + 0.5 * fake.restored),
            "real": self.loss.output(real),
            "fake": self.loss.output(sampled),
            "reconstructed": self.loss.output(restored),
        }

    def opponents_loss(self, batch: Batch, fake: _Made, drawn: Tensor) -> Tensor:
        """Return a value with the gradients of the encoder's and generator's losses, shape (B,)."""
        with torch.no_grad():
            features = self.perceive(batch.x)
        restored_features = to_layer(self.critic, self.layer, fake.restored)
        likelihood = 0.5 * squared_distance(features, restored_features)
        scores = [self.score(self.critic(fake.sampled))]
        if self.judge_reconstructions:
            scores.append(self.score(from_layer(self.critic, self.layer, restored_features)))
        game = _mean([self.loss.generator(score) for score in scores])
        # The generator gets gamma times the likelihood's gradient and the adversarial one; the
        # encoder gets the likelihood's gradient alone, though both flow through the same images.
        (slope,) = torch.autograd.grad(likelihood.sum(), fake.leaf, retain_graph=True)
        for_encoder = gaussian_kl(*fake.posterior).sum(1) + (slope * fake.z).sum(1)
        return for_encoder + self.gamma * likelihood + game

    def after_opponents_step(self, batch: Batch) -> None:
        super().after_opponents_step(batch)
        if self.averaged_encoder is not None:
            steps = self.global_step // self.critic_steps
            follow(self.averaged_encoder, self.encoder, self.average, steps, lambda: batch.x)

    def codes_shown(self, batch: Batch) -> Tensor:
        return torch.cat([super().codes_shown(batch), self.posterior(batch.x).sample(1)[0]])

    def _look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the critic's features of images at layer l, and their scores (B,)."""
        features = to_layer(self.critic, self.layer, images)
        return features, self.score(from_layer(self.critic, self.layer, features))

    def _move_critic(
        self, parts: list[Batch], drawn: list[Tensor], keep_graph: bool
    ) -> tuple[list[_Made], dict[str, Tensor]]:
        fakes, terms = super()._move_critic(parts, drawn, keep_graph)
        like = terms["critic_loss"]
        moves = {f"{who}_moves": like.new_full(like.shape, on) for who, on in self._moving.items()}
        return fakes, terms | moves

    def _step(self, name: str) -> None:
        if name == self.counted_player and self.gate is not None:
            self._moving = self.gate(*self._read_entropies())
            # The generator also waits until its next step is due.
            self._moving["generator"] &= self.opponents_due
        if self._moving.get(name, True):
            super()._step(name)
        else:
            self._forget_gradients(name)
            self._advance(name)

    def _read_entropies(self) -> list[float]:
        """Return the mean cross-entropies on real and generated images over all processes."""
        total = torch.stack([n * part for n, part in self._entropies]).sum(0)
        mean = total / sum(n for n, _ in self._entropies)
        self._entropies.clear()
        if self.trainer.world_size > 1:
            mean = self.trainer.strategy.reduce(mean, reduce_op="mean")
        entropies: list[float] = mean.tolist()
        return entropies


def _entropies(real: Tensor, fakes: Sequence[Tensor]) -> Tensor:
    """Return the mean cross-entropies of scores on real and on generated images, shape (2,)."""
    return torch.stack([softplus(-real).mean(), softplus(torch.cat([*fakes])).mean()])


def _mean(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack([*parts]).mean(0)
