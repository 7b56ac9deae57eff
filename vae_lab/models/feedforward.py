"""The baseline of conditional VAEs: a deterministic model without a code."""

from collections.abc import Callable

import torch
from torch import Tensor

from vae_lab.conditions import ClassCondition, Condition
from vae_lab.contracts import Batch, Shape
from vae_lab.likelihoods import Bernoulli, Likelihood
from vae_lab.losses import squared_distance
from vae_lab.models.base import MakeDecoder, Schedule
from vae_lab.models.single import SingleObjective
from vae_lab.nets import MLPDecoder, tried

__all__ = ["FeedForward"]


class FeedForward(SingleObjective):
    r"""Predicts an image from its condition; pixels are independent given that.

    .. math:: \log p(x | y) = \sum_i \log p(x_i | y)

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        decoder: Network from the condition's features to images.
        condition: The condition y, see `CVAE`.
        likelihood: p(x|y), parametrised by the decoder's output.
        lr: Learning rate of Adam.
        schedule: Learning-rate schedule of torch.optim.lr_scheduler, stepped once an epoch.

    Raises:
        LabError: If a size or rate is out of range, or the likelihood does not fit the condition.

    References:
        Sohn et al., Learning Structured Output Representation using Deep Conditional Generative
        Models, 2015 (the baseline NN). https://papers.nips.cc/paper/5775
    """

    def __init__(
        self,
        shape: Shape,
        decoder: MakeDecoder = MLPDecoder,
        condition: Callable[[Shape], Condition] = ClassCondition,
        likelihood: Callable[[], Likelihood] = Bernoulli,
        lr: float = 1e-3,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(shape, lr, schedule)

        self.likelihood = likelihood()
        self.condition = condition(shape)
        self.condition.check(self.likelihood)
        channels, height, width = shape
        output = (self.likelihood.outputs(channels), height, width)
        features = self.condition.features
        self.decoder = tried(decoder(features, output), (features,), output)

    def output(self, y: Tensor | None) -> Tensor:
        """Return the decoder's output for conditions, shape (B, C, H, W)."""
        return self.condition.settle(self.decoder(self.condition(y)), y)

    def forward(self, y: Tensor) -> Tensor:
        """Return the mean image of each condition, shape (B, C, H, W), in [0, 1]."""
        return self.likelihood.mean(self.output(y))

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        guess: Tensor = self(batch.y)
        return guess

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return log p(x|y) of images (B, C, H, W), in nats, shape (B,)."""
        return self.likelihood.log_prob(self.output(y), x)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        output = self.output(batch.y)
        with torch.no_grad():
            error = squared_distance(self.likelihood.mean(output), batch.x)
        return {"loss": -self.likelihood.log_prob(output, batch.x), "squared_error": error}
