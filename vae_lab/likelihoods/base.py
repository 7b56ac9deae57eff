"""Base of all likelihoods."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from vae_lab.errors import LabError
from vae_lab.words import article

__all__ = ["Likelihood"]


class Likelihood(nn.Module, ABC):
    """Base of all likelihoods; pixels are independent given the code.

    Attributes:
        binary: Whether it is a likelihood of binary pixels; of grey ones it is a cross-entropy.
        discrete: Whether it is a probability of 8-bit values, so that bits/dim are defined.
    """

    binary = False
    discrete = False

    def outputs(self, channels: int) -> int:
        """Return the decoder's number of output channels for images of `channels`."""
        return channels

    @abstractmethod
    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return log p(x|z) in nats, summed over channels and pixels.

        Args:
            output: The decoder's output, shape (..., B, outputs(C), H, W).
            x: Images in [0, 1], shape (B, C, H, W).

        Returns:
            Shape (..., B).

        Raises:
            LabError: If the output has another shape, see `check`.
        """

    def check(self, output: Tensor, x: Tensor) -> None:
        """Refuse an output of another shape, which broadcasting would silently accept.

        Raises:
            LabError: If `output` is not of shape (..., B, outputs(C), H, W).
        """
        batch, channels, *sides = x.shape
        wanted = (batch, self.outputs(channels), *sides)
        if output.shape[-4:] != wanted:
            put, asked = (" x ".join(map(str, shape)) for shape in (output.shape[-4:], wanted))
            raise LabError(
                f"The decoder put out {put}, where {article(self)} of these images needs {asked}."
            )

    @abstractmethod
    def mean(self, output: Tensor) -> Tensor:
        """Return the mean image, shape (..., C, H, W), in [0, 1]."""

    @abstractmethod
    def sample(self, output: Tensor) -> Tensor:
        """Draw images, shape (..., C, H, W), from the global random stream.

        Samples of a density may lie outside [0, 1]. They are not clipped, which would change the
        distribution.
        """
