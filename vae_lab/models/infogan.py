"""InfoGAN: a GAN whose codes can be predicted from its images."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate as running_sum

import torch
from torch import Tensor, nn

from vae_lab.adversarial_losses import AdversarialLoss, NonSaturating
from vae_lab.arguments import at_least
from vae_lab.codes import Categorical, Code, Uniform
from vae_lab.contracts import Batch, Shape
from vae_lab.errors import LabError
from vae_lab.models.base import MakeDecoder, MakeEncoder, Schedule
from vae_lab.models.gan import GAN
from vae_lab.nets import ConvCritic, ConvGenerator, Encoder, tried

__all__ = ["InfoGAN"]


class InfoGAN(GAN):
    r"""Learns interpretable codes without labels, by predicting them from generated images.

    .. math::
        \ell_D + \lambda \ell_Q, \quad \ell_G + \lambda \ell_Q, \quad
        \ell_Q = -\mathbb{E}_{c, z} [\log Q(c | G(z, c))] \ge H(c) - I(c; G(z, c))

    As in the authors' program, Q shares all but its last layers with the critic and is trained in
    the critic's step on generated images; the generator minimises the same term in its own step.
    The generator's input is noise followed by the codes in their order.

    Besides a GAN's curves, each code has one: of a categorical code `c1_information`, a lower bound
    on its mutual information with the image in nats, at most its entropy; of a continuous code
    `c2_squared_error`, the error of its prediction.

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        noise: Size of the generator's noise input, uniform between -1 and 1.
        codes: Codes of `vae_lab.codes`; by default one of ten categories and two continuous ones.
        generator: Network from noise and codes to images.
        critic: Network from images to features, from which score and codes are predicted.
        features: Number of the critic's output features.
        hidden: Units of the layer between these features and the codes.
        loss: Adversarial loss, to which the information term is added.
        average: Decay of the generator's moving average; 0 disables it.
        critic_steps: Critic steps, one per batch, for each step of the generator.
        clip: Largest gradient norm of a network; larger gradients are scaled down to it.
        accumulate: Number of parts that a batch is split into to save memory, their gradients
            summed.
        lr: Learning rate of Adam for the generator.
        critic_lr: Learning rate of Adam for the critic and Q.
        betas: Adam's decay rates of the first and second moments.
        schedule: Learning-rate schedule of torch.optim.lr_scheduler for each network, stepped
            once an epoch.

    Raises:
        LabError: If there is no code, two codes have the same name, or a setting is out of range;
            see also `GAN`.

    References:
        Chen et al., InfoGAN: Interpretable Representation Learning by Information Maximizing
        Generative Adversarial Nets, 2016. https://arxiv.org/abs/1606.03657
    """

    def __init__(
        self,
        shape: Shape,
        noise: int = 62,
        codes: Sequence[Callable[[], Code]] = (Categorical, Uniform, Uniform),
        generator: MakeDecoder = ConvGenerator,
        critic: MakeEncoder = ConvCritic,
        features: int = 256,
        hidden: int = 128,
        loss: Callable[[], AdversarialLoss] = NonSaturating,
        average: float = 0.999,
        critic_steps: int = 1,
        clip: float | None = None,
        accumulate: int = 1,
        lr: float = 1e-3,
        critic_lr: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        schedule: Schedule | None = None,
    ) -> None:
        made = [code() for code in codes]
        if not made:
            raise LabError("An InfoGAN needs a code.")
        at_least(1, noise=noise, features=features, hidden=hidden)
        super().__init__(
            shape,
            noise + sum(code.size for code in made),
            generator,
            partial(_Reader, critic, features, hidden, sum(code.outputs for code in made)),
            loss,
            average=average,
            critic_steps=critic_steps,
            clip=clip,
            accumulate=accumulate,
            lr=lr,
            critic_lr=critic_lr,
            betas=betas,
            schedule=schedule,
        )
        self.codes = {code.name or f"c{i + 1}": code for i, code in enumerate(made)}
        if len(self.codes) < len(made):
            raise LabError("Two codes have the same name: give each one of its own.")
        self.places = _slices(noise, {name: code.size for name, code in self.codes.items()})
        self._said = _slices(1, {name: code.outputs for name, code in self.codes.items()})
        self.noise = noise
        if self.category is not None:
            # Only with a categorical code does the model cluster images.
            self.cluster = self._cluster

    def draw_codes(self, n: int) -> Tensor:
        """Draw noise and codes, shape (n, latent_dim), from the global random stream."""
        # Uniform like the codes: with normal noise, codes of digits took twice as long to learn.
        noise = 2 * torch.rand(n, self.noise, device=self.device) - 1
        drawn = [code.sample(n, self.device) for code in self.codes.values()]
        return torch.cat([noise, *drawn], 1)

    def read(self, x: Tensor) -> dict[str, Tensor]:
        """Return Q's prediction of each code of images (B, C, H, W) in [0, 1], by name.

        For a categorical code these are logits, shape (B, values), else a mean, shape (B, 1).
        """
        said = self.critic(2 * x - 1)
        return {name: said[:, place] for name, place in self._said.items()}

    def _cluster(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the most probable value of the first categorical code, shape (B,)."""
        assert self.category is not None  # else there is no `cluster`
        return self.read(x)[self.category].argmax(1)

    @property
    def category(self) -> str | None:
        """The name of the first categorical code, if there is one."""
        return next((name for name, code in self.codes.items() if code.categorical), None)

    def critic_terms(self, batch: Batch, fake: Tensor, drawn: Tensor) -> dict[str, Tensor]:
        real_said, said = self.critic(2 * batch.x - 1), self.critic(fake)
        terms = self.compare(self.score(real_said), self.score(said))
        terms["critic_loss"] = terms["critic_loss"] + self._information_loss(said, drawn)
        for name, code in self.codes.items():
            found = code.reading(said[:, self._said[name]], drawn[:, self.places[name]])
            terms |= {f"{name}_{what}": values for what, values in found.items()}
        return terms

    def opponents_loss(self, batch: Batch, fake: Tensor, drawn: Tensor) -> Tensor:
        said = self.critic(fake)
        return self.loss.generator(self.score(said)) + self._information_loss(said, drawn)

    def _make_critic(self, make: MakeEncoder, shape: Shape) -> nn.Module:
        return make(shape, 1)  # a score and the predicted codes

    def _information_loss(self, said: Tensor, drawn: Tensor) -> Tensor:
        """Return the weighted sum of -log Q(c|x) over the codes, shape (B,)."""
        parts = [
            -code.weight * code.log_prob(said[:, self._said[name]], drawn[:, self.places[name]])
            for name, code in self.codes.items()
        ]
        return torch.stack(parts).sum(0)


class _Heads(nn.Module):
    """Maps features (B, F) to a score and the predicted codes, shape (B, 1 + outputs)."""

    def __init__(self, features: int, hidden: int, outputs: int) -> None:
        super().__init__()

        self.score = nn.Linear(features, 1)
        inner = nn.Linear(features, hidden, bias=False)
        normal = nn.BatchNorm1d(hidden)
        self.codes = nn.Sequential(inner, normal, nn.LeakyReLU(0.1), nn.Linear(hidden, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.score(x), self.codes(x)], 1)


class _Reader(nn.Sequential, Encoder):
    """Maps images to a score and the predicted codes."""

    def __init__(
        self,
        critic: MakeEncoder,
        features: int,
        hidden: int,
        outputs: int,
        shape: Shape,
        size: int,
    ) -> None:
        normal, activation = nn.BatchNorm1d(features), nn.LeakyReLU(0.1)
        seen = tried(critic(shape, features), shape, (features,))
        super().__init__(seen, normal, activation, _Heads(features, hidden, outputs))


def _slices(start: int, sizes: dict[str, int]) -> dict[str, slice]:
    """Return slices of consecutive parts, beginning at `start`."""
    ends = [*running_sum(sizes.values(), initial=start)]
    return {name: slice(*ends[i : i + 2]) for i, name in enumerate(sizes)}
