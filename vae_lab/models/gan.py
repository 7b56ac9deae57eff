"""Generative adversarial networks."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from vae_lab.adversarial_losses import AdversarialLoss, CriticPenalty, NonSaturating
from vae_lab.arguments import at_least, below_one
from vae_lab.contracts import Batch, Shape
from vae_lab.errors import LabError
from vae_lab.models.adversarial import Adversarial, Made
from vae_lab.models.average import averaged, follow
from vae_lab.models.base import MakeDecoder, MakeEncoder, Schedule
from vae_lab.nets import MLPCritic, MLPGenerator, normalises, tried
from vae_lab.precision import at_least_single
from vae_lab.words import article

__all__ = ["GAN"]


class GAN(Adversarial):
    r"""Trains a generator against a critic that tells its images from real ones.

    .. math:: \hat x = \frac{1}{2} (1 + \tanh G(z)), \quad z \sim N(0, I)

    Critic and generator use pixels in [-1, 1]; all other code uses [0, 1]. Samples, pictures and
    metrics come from an exponential moving average of the generator's weights. No loss tells
    which checkpoint is best: the latest is kept, unless `Likeness` is monitored.

    Logged are the losses of both players and, as `real` and `fake`, the critic's mean output for
    real and generated images; for a logistic loss, the probability of being real. A penalty is
    included in `train/critic_loss` but not in `val/critic_loss`.

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        latent_dim: Size of the code z.
        generator: Network from codes to images.
        critic: Network from images to a score.
        loss: Adversarial loss.
        penalty: Gradient penalty of the critic.
        spectral_norm: Scale the critic's weight matrices and kernels to a spectral norm of one.
            Batch norm would undo it: give a ConvCritic `batch_norm` false.
        average: Decay of the generator's moving average; 0 disables it.
        critic_steps: Critic steps, one per batch, for each step of the generator.
        clip: Largest gradient norm of a network; larger gradients are scaled down to it.
        accumulate: Number of parts that a batch is split into to save memory, their gradients
            summed.
        lr: Learning rate of Adam for the generator.
        critic_lr: Learning rate of Adam for the critic.
        betas: Adam's decay rates of the first and second moments.
        schedule: Learning-rate schedule of torch.optim.lr_scheduler for each network, stepped
            once an epoch.

    Raises:
        LabError: If a setting is out of range, the generator's images have another shape than
            the data's, the critic's output is not a score, or a penalty is used with batch norm;
            see also `Adversarial`.

    References:
        Goodfellow et al., Generative Adversarial Nets, 2014. https://arxiv.org/abs/1406.2661
        Radford et al., Unsupervised Representation Learning with Deep Convolutional Generative
        Adversarial Networks, 2016. https://arxiv.org/abs/1511.06434
        Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018.
        https://arxiv.org/abs/1802.05957
    """

    def __init__(
        self,
        shape: Shape,
        latent_dim: int = 100,
        generator: MakeDecoder = MLPGenerator,
        critic: MakeEncoder = MLPCritic,
        loss: Callable[[], AdversarialLoss] = NonSaturating,
        penalty: Callable[[], CriticPenalty] | None = None,
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
        super().__init__(shape, critic_steps, clip, accumulate, lr, critic_lr, betas, schedule)

        at_least(1, latent_dim=latent_dim)
        below_one(average=average)
        self.latent_dim = latent_dim
        self.average = average
        self.loss = loss()
        self.penalty = penalty and penalty()
        self.generator = tried(generator(latent_dim, shape), (latent_dim,), shape)
        self.averaged = averaged(self.generator) if average else None
        self.critic = self._make_critic(critic, shape)
        if penalty and normalises(self.critic):
            raise LabError(
                f"{article(self.penalty, 'A')} is of the critic's slope at each image by "
                "itself, which batch norm mixes: give the critic batch_norm false."
            )
        if spectral_norm:
            _normalise(self.critic)

    @property
    def opponents(self) -> dict[str, nn.Module]:
        return {"generator": self.generator}

    def draw_codes(self, n: int) -> Tensor:
        """Draw codes, shape (n, latent_dim), from the global random stream."""
        return torch.randn(n, self.latent_dim, device=self.device)

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the images of codes (B, latent_dim), shape (B, C, H, W), in [0, 1]."""
        return 0.5 + 0.5 * at_least_single(self._generate(z))

    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw images, shape (n, C, H, W), in [0, 1]."""
        return self.decode(self.draw_codes(n))

    def forward(self, z: Tensor) -> Tensor:
        """Return the images of codes (B, latent_dim)."""
        return self.decode(z)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        raise LabError(f"{article(self, 'A')} restores no images; `lab sample` draws new ones.")

    def draw(self, batch: Batch) -> Tensor:
        return self.draw_codes(len(batch.x))

    def fake(self, batch: Batch, drawn: Tensor) -> Made:
        return self._generate(drawn)

    def critic_terms(self, batch: Batch, fake: Made, drawn: Tensor) -> dict[str, Tensor]:
        real = 2 * batch.x - 1
        real_score, fake_score = self.score(self.critic(real)), self.score(self.critic(fake))
        terms = self.compare(real_score, fake_score)
        if self.penalty is not None and self.training:
            penalty = self.penalty(lambda x: self.score(self.critic(x)), real, fake)
            terms |= {"penalty": penalty, "critic_loss": terms["critic_loss"] + penalty}
        return terms

    def compare(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Return both players' losses for scores (B,), and the readable scores, per image."""
        return {
            "critic_loss": self.loss.critic(real, fake),
            "generator_loss": self.loss.generator(fake),
            "real": self.loss.output(real),
            "fake": self.loss.output(fake),
        }

    def opponents_loss(self, batch: Batch, fake: Made, drawn: Tensor) -> Tensor:
        return self.loss.generator(self.score(self.critic(fake)))

    def after_opponents_step(self, batch: Batch) -> None:
        if self.averaged is not None:
            steps = self.global_step // self.critic_steps
            codes = partial(self.codes_shown, batch)
            follow(self.averaged, self.generator, self.average, steps, codes)

    def codes_shown(self, batch: Batch) -> Tensor:
        """Draw codes (N, D) as in training, to update the average's batch-norm statistics."""
        return self.draw_codes(len(batch.x))

    def score(self, said: Tensor) -> Tensor:
        """Return the scores in the critic's output, shape (B,)."""
        return at_least_single(said[:, 0])

    def _make_critic(self, make: MakeEncoder, shape: Shape) -> nn.Module:
        return tried(make(shape, 1), shape, (1,))

    def _generate(self, z: Tensor) -> Tensor:
        """Return images in [-1, 1], from the generator in training, else from its average."""
        average = None if self.training else self.averaged
        images: Tensor = (self.generator if average is None else average)(z)
        return images.tanh()


def _normalise(critic: nn.Module) -> None:
    """Divide every weight matrix by its largest singular value, estimated by power iteration."""
    for layer in list(critic.modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            parametrizations.spectral_norm(layer)
