"""VAE/GAN: an autoencoder whose errors are measured in the eyes of a critic."""

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
    """Images in [-1, 1], shape (B, C, H, W), and what the restored ones were made of.

    Attributes:
        restored: From codes drawn from the posterior.
        sampled: From codes of the prior.
        posterior: What the encoder says of the batch.
        z: The codes drawn from it, shape (B, D), in the encoder's graph.
        leaf: The same numbers, in the generator's graph alone.
    """

    restored: Tensor
    sampled: Tensor
    posterior: DiagonalGaussian
    z: Tensor
    leaf: Tensor

    def detach(self) -> "_Made":
        """Return the same, out of the reach of a gradient."""
        images = self.restored.detach(), self.sampled.detach()
        return _Made(*images, self.posterior.detach(), self.z.detach(), self.leaf.detach())


class VAEGAN(GAN):
    r"""A VAE whose decoder is a GAN's generator, and whose likelihood is of the critic's features.

    .. math::
        \ell_{encoder} = KL + L_l, \quad \ell_{generator} = \gamma L_l + \ell_G, \quad
        \ell_{critic} = \ell_D, \quad L_l = \frac{1}{2} \|D_l(x) - D_l(\hat x)\|^2

    :math:`D_l(x)` is what the critic's l-th layer says of an image; :math:`L_l` is the negative
    log-likelihood of a Gaussian of variance one around that of the reconstruction, summed over
    features, but for a constant. No term reaches a network that is not named by it: neither the
    likelihood the critic, nor the game the encoder. Where reconstructions are judged beside
    samples, each kind counts half against the real images, so that a critic that cannot tell
    says 0.5 of all.

    As the critic learns, its features grow, and with them `feature_error`; `pixel_error`, the
    squared error of the same reconstructions, tells whether they get worse too: of codes
    drawn, and not of their means as in an evaluation. Both are logged, with what the critic says of
    `real`, `fake` and `reconstructed` images and, under a gate, the share of steps at which each
    side moved.

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        latent_dim: Size of the code.
        encoder: Network from images to the features that q(z|x) is made of.
        generator: Network from codes to images.
        critic: Network from images to a score, a chain of layers.
        layer: The critic's layer l, counted from 0, normalisations and activations included. What
            goes into a normalisation has no scale of its own: where it is small, the divergence
            wins and codes say nothing.
        gamma: Weight of the likelihood beside the game in what the generator minimises; the
            likelihood is a sum over features, so the more there are, the smaller.
        judge_reconstructions: Whether the game is about reconstructions too, as in the paper, or
            about samples alone, as in the authors' program for faces.
        gate: When a side that is too far ahead rests; by default never.
        spectral_norm: Whether the critic's weight matrices, of a convolution its kernel, are scaled
            to a norm of one; batch norm would undo it: give a ConvCritic `batch_norm` false.
        average: How much of the averaged encoder and generator each step keeps; 0 averages nothing.
        critic_steps: Batches, each a step of the critic, for every step of the others.
        clip: Largest norm of a network's gradient; larger ones are scaled down to it.
        accumulate: Parts in which a batch is worked off to save memory, gradients added up.
        lr: Learning rate of Adam for encoder and generator.
        critic_lr: Learning rate of Adam for the critic.
        betas: Adam's decay rates of the gradient's mean and of its square.
        schedule: Learning-rate schedule of torch.optim.lr_scheduler for each network, stepped
            once an epoch.

    Raises:
        LabError: If gamma is not positive, the critic has no such layer or is no chain of layers;
            or see `GAN`.

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
        """Return q(z|x) for images (B, C, H, W): in training the encoder's, else its average's."""
        average = None if self.training else self.averaged_encoder
        encoder = self.encoder if average is None else average
        return DiagonalGaussian.from_features(encoded(encoder, x, 2 * self.latent_dim))

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the posterior means of images (B, C, H, W), shape (B, latent_dim)."""
        return self.posterior(x).mean

    def perceive(self, x: Tensor) -> Tensor:
        """Return what the critic's layer l says of images (B, C, H, W)."""
        return to_layer(self.critic, self.layer, 2 * x - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Restore images (B, C, H, W) from their posterior means."""
        return self.decode(self.encode(x))

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        restored: Tensor = self(batch.x)
        return restored

    def draw(self, batch: Batch) -> Tensor:
        """Draw the noise of the posteriors' codes, and codes of the prior, beside each other."""
        return torch.cat([self.draw_codes(len(batch.x)), self.draw_codes(len(batch.x))], 1)

    def fake(self, batch: Batch, drawn: Tensor) -> _Made:
        noise, from_prior = drawn.chunk(2, 1)
        posterior = self.posterior(batch.x)
        z = torch.addcmul(posterior.mean, (0.5 * posterior.log_variance).exp(), noise)
        # The generator's graph begins here: what its images lead to is sent on to the encoder
        # only where `opponents_loss` does so.
        leaf = z.detach().requires_grad_(torch.is_grad_enabled())
        # Normalised together, as both are normalised by the same numbers later.
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
        """Return what has the gradients of the encoder's and the generator's losses, shape (B,)."""
        with torch.no_grad():
            features = self.perceive(batch.x)
        restored_features = to_layer(self.critic, self.layer, fake.restored)
        likelihood = 0.5 * squared_distance(features, restored_features)
        scores = [self.score(self.critic(fake.sampled))]
        if self.judge_reconstructions:
            scores.append(self.score(from_layer(self.critic, self.layer, restored_features)))
        game = _mean([self.loss.generator(score) for score in scores])
        # The generator gets gamma times the likelihood's gradient, but the encoder the whole of
        # it and nothing of the game's, though both come through the same images.
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
        """Return what the critic says of images at its layer l, and their scores (B,)."""
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
            # It rests as well where its turn has not come.
            self._moving["generator"] &= self.opponents_due
        if self._moving.get(name, True):
            super()._step(name)
        else:
            self._forget_gradients(name)
            self._advance(name)

    def _read_entropies(self) -> list[float]:
        """Return those of the batch's real and generated images, as seen by all processes."""
        total = torch.stack([n * part for n, part in self._entropies]).sum(0)
        mean = total / sum(n for n, _ in self._entropies)
        self._entropies.clear()
        if self.trainer.world_size > 1:
            mean = self.trainer.strategy.reduce(mean, reduce_op="mean")
        entropies: list[float] = mean.tolist()
        return entropies


def _entropies(real: Tensor, fakes: Sequence[Tensor]) -> Tensor:
    """Return the mean cross-entropies of scores of real and of generated images, shape (2,)."""
    return torch.stack([softplus(-real).mean(), softplus(torch.cat([*fakes])).mean()])


def _mean(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack([*parts]).mean(0)
