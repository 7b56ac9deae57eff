"""Conditional variational autoencoders."""

import math
from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from vae_lab.conditions import ClassCondition, Condition, check_classes
from vae_lab.contracts import Batch, Shape
from vae_lab.errors import LabError
from vae_lab.likelihoods import Bernoulli, Likelihood
from vae_lab.models.base import MakeDecoder, MakeEncoder, Schedule
from vae_lab.models.vae import VAE
from vae_lab.nets import Decoder, Encoder, MLPDecoder, MLPEncoder, tried
from vae_lab.posteriors import DiagonalGaussian, Family, Gaussian, Posterior
from vae_lab.priors import CodeDensity, Moved, Prior, StandardNormal, VampPrior

__all__ = ["CVAE"]


class CVAE(VAE):
    r"""A VAE of images x given a condition y: a class, attributes or another image.

    .. math::
        \log p(x | y) \ge \mathbb{E}_{q(z | x, y)} [\log p(x | z, y)]
        - \beta\, KL(q(z | x, y) \| p(z | y)), \quad \beta \ge 1

    The networks are those of any model. The encoder sees the condition as additional image
    channels, the decoder as additional code dimensions. The prior is N(0, I), or p(z|y) with
    `conditional_prior`.

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        latent_dim: Size of the code.
        encoder: Network from images to the parameters of q(z|x,y).
        decoder: Network from codes to images.
        condition: The condition y: ClassCondition, AttributeCondition, ImageCondition, or
            PartialCondition, a part of the image itself.
        conditional_prior: Shift and scale each dimension of the prior by a linear map of the
            condition's features: N(0, I) becomes one Gaussian per class.
        likelihood: p(x|z,y), parametrised by the decoder's output.
        prior: p(z), which `conditional_prior` shifts and scales.
        posterior: The family of q(z|x,y).
        beta: Weight of the KL divergence; see `VAE` for this and the following.
        free_bits: Least KL divergence in nats that each dimension is charged for.
        capacity: Target of the KL divergence in nats.
        total_correlation: Weight of the total correlation.
        warmup: Training steps over which the KL weight rises.
        samples: Codes per image over which the bound is averaged.
        importance_samples: Codes inside the logarithm of one bound.
        doubly_reparameterised: Use the doubly reparameterised gradient estimator.
        lr: Learning rate of Adam.
        schedule: Learning-rate schedule of torch.optim.lr_scheduler, stepped once an epoch.

    Raises:
        LabError: If a size, weight or count is out of range, two parts do not fit together, or
            the data have another number of classes than the condition.

    References:
        Kingma et al., Semi-supervised Learning with Deep Generative Models, 2014.
        https://arxiv.org/abs/1406.5298
        Sohn et al., Learning Structured Output Representation using Deep Conditional Generative
        Models, 2015. https://papers.nips.cc/paper/5775
    """

    def __init__(
        self,
        shape: Shape,
        latent_dim: int = 20,
        encoder: MakeEncoder = MLPEncoder,
        decoder: MakeDecoder = MLPDecoder,
        condition: Callable[[Shape], Condition] = ClassCondition,
        conditional_prior: bool = False,
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
        known = condition(shape)
        super().__init__(
            shape,
            latent_dim,
            partial(_wide_encoder, encoder, known.planes or 1),
            partial(_wide_decoder, decoder, known.features),
            likelihood=likelihood,
            prior=prior,
            posterior=posterior,
            beta=beta,
            free_bits=free_bits,
            capacity=capacity,
            total_correlation=total_correlation,
            warmup=warmup,
            samples=samples,
            importance_samples=importance_samples,
            doubly_reparameterised=doubly_reparameterised,
            lr=lr,
            schedule=schedule,
        )

        self.condition = known
        self.condition.check(self.likelihood)
        if conditional_prior and self.family.classes:
            raise LabError("A conditional_prior moves real codes; one-hot ones cannot be moved.")
        # A condition that is not an image is mapped to one.
        pixels = math.prod(shape[1:])
        self.plane = None if known.planes else nn.Linear(known.features, pixels)
        self.place = nn.Linear(known.features, 2 * latent_dim) if conditional_prior else None
        if self.place is not None:
            # Training begins with the same prior for all conditions.
            nn.init.zeros_(self.place.weight)
            nn.init.zeros_(self.place.bias)

    @property
    def classes(self) -> int | None:
        """The number of classes; None if the condition is not a class."""
        return self.condition.classes

    @property
    def moves_prior(self) -> bool:
        """Whether there is a conditional prior."""
        return self.place is not None

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if self.classes:
            check_classes(self.trainer, self.classes, "the condition's classes")

    def posterior(self, x: Tensor, y: Tensor | None = None) -> Posterior:
        """Return q(z|x, y) for images (B, C, H, W) and their conditions."""
        return super().posterior(torch.cat([x, self._beside(y)], 1))

    def prior_given(self, y: Tensor | None = None) -> CodeDensity:
        """Return p(z), or p(z|y) where there is a conditional prior."""
        prior = super().prior_given(y)
        if self.place is None:
            return prior
        return Moved(prior, DiagonalGaussian.from_features(self.place(self.condition(y))))

    def output(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the decoder's output for codes (..., B, D), shape (..., B, C, H, W)."""
        known = self.condition(y).expand(*z.shape[:-1], -1)
        seen = torch.cat([self.family.seen(z), known], -1)
        output = self.decoder(seen.flatten(0, -2)).unflatten(0, z.shape[:-1])
        return self.condition.settle(output, y)

    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw codes for `n` conditions and return their mean images, shape (n, C, H, W).

        Without `y`, each image's class is drawn at random.
        """
        if y is None and self.classes:
            y = torch.randint(self.classes, (n,), device=self.device)
        return super().sample(n, y)

    def transfer(self, z: Tensor, y: Tensor, to: Tensor) -> Tensor:
        """Return the codes under conditions `to` that correspond to z (B, D) under y.

        Without a conditional prior these are the codes themselves.
        """
        if self.place is None:
            return z
        there, here = (cast(Moved, self.prior_given(condition)) for condition in (to, y))
        return there.there(here.back(z))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Reconstruct images (B, C, H, W) under their conditions from posterior means."""
        return self.decode(self.encode(x, y), y)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        restored: Tensor = self(batch.x, batch.y)
        return restored

    def _beside(self, y: Tensor | None) -> Tensor:
        """Return the condition as image channels, shape (B, planes, H, W)."""
        if self.plane is None:
            return cast(Tensor, self.condition.image(y))
        plane: Tensor = self.plane(self.condition(y))
        return plane.view(-1, 1, *self.shape[1:])

    # Those that see the condition beside image and code have been tried where they were made.
    def _make_encoder(self, make: MakeEncoder, shape: Shape) -> Encoder:
        return make(shape, self.family.features)

    def _make_decoder(self, make: MakeDecoder, output: Shape) -> Decoder:
        return make(self.family.visible, output)

    def _check_parts(self) -> None:
        super()._check_parts()
        if isinstance(self.prior, VampPrior):
            raise LabError("A VampPrior's pseudo-inputs have no condition: choose another prior.")


def _wide_encoder(make: MakeEncoder, planes: int, shape: Shape, features: int) -> Encoder:
    """Make an encoder of images with so many more channels."""
    wide = (shape[0] + planes, *shape[1:])
    return tried(make(wide, features), wide, (features,))


def _wide_decoder(make: MakeDecoder, more: int, features: int, shape: Shape) -> Decoder:
    """Make a decoder of codes with so many more dimensions."""
    return tried(make(features + more, shape), (features + more,), shape)
