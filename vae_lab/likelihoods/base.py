"""What every likelihood can say."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from vae_lab.errors import LabError

__all__ = ["Likelihood"]


class Likelihood(nn.Module, ABC):
    """Base of all likelihoods; pixels are independent given the code.

    Attributes:
        binary: Whether it is a likelihood of black and white pixels alone.
        discrete: Whether it is a probability of 8-bit values, which bits/dim can be told of.
    """

    binary = False
    discrete = False

    def outputs(self, channels: int) -> int:
        """Return how many channels the decoder puts out for an image of `channels`."""
        return channels

    @abstractmethod
    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return log p(x|z) in nats, summed over channels and pixels.

        Args:
            output: What the decoder put out, shape (..., B, outputs(C), H, W).
            x: Images in [0, 1], shape (B, C, H, W).

        Returns:
            Shape (..., B).

        Raises:
            LabError: If the output has another shape, see `check`.
        """

    def check(self, output: Tensor, x: Tensor) -> None:
        """Refuse what a decoder put out for other images: spread over these, it would be wrong.

        Raises:
            LabError: If `output` is not of shape (..., B, outputs(C), H, W).
        """
        batch, channels, *sides = x.shape
        wanted = (batch, self.outputs(channels), *sides)
        if output.shape[-4:] != wanted:
            put, asked = (" x ".join(map(str, shape)) for shape in (output.shape[-4:], wanted))
            raise LabError(
                f"The decoder put out {put}, where a {type(self).__name__} of these images needs "
                f"{asked}."
            )

    @abstractmethod
    def mean(self, output: Tensor) -> Tensor:
        """Return the mean image, shape (..., C, H, W), in [0, 1]."""

    @abstractmethod
    def sample(self, output: Tensor) -> Tensor:
        """Draw images, shape (..., C, H, W), from the global random stream.

        Those of a density of real numbers may lie outside [0, 1], and are not clipped: that would
        be another distribution.
        """
