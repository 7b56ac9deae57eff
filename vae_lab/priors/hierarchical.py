"""A prior of two layers."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vae_lab.contracts import Shape
from vae_lab.errors import LabError
from vae_lab.nets.base import initialise
from vae_lab.nets.mlp import mlp
from vae_lab.posteriors import BottomUp, DiagonalGaussian, Family, Posterior, lower_size
from vae_lab.priors.base import CodeDensity, Prior
from vae_lab.priors.standard import StandardNormal

__all__ = ["TopDown"]


class TopDown(Prior, CodeDensity):
    r"""Two layers of Gaussians, the lower given the upper.

    .. math:: p(h_1, h_2) = N(h_2; 0, I)\, p(h_1 | h_2)

    A code is (h_1, h_2). The matching posterior is `BottomUp`.

    Args:
        latent_dim: Size of the code, both layers together.
        shape: Not used.
        top: Size of the upper layer.
        hidden: Widths of the hidden layers from the upper to the lower.
        activation: Name of an activation in torch.nn.

    Raises:
        LabError: If the upper layer is not smaller than the code, a width is not positive or
            `activation` is unknown.

    References:
        Burda et al., Importance Weighted Autoencoders, 2016. https://arxiv.org/abs/1509.00519
    """

    def __init__(
        self,
        latent_dim: int,
        shape: Shape | None = None,
        top: int = 50,
        hidden: Sequence[int] = (100, 100),
        activation: str = "Tanh",
    ) -> None:
        super().__init__(latent_dim, shape)

        lower = lower_size(latent_dim, top)
        self.above = StandardNormal(top)
        self.net = nn.Sequential(*mlp([top, *hidden, 2 * lower], activation))
        initialise(self.net)

    def check(self, family: Family) -> None:
        super().check(family)
        own = self.latent_dim - self.above.latent_dim
        if isinstance(family, BottomUp) and family.visible != own:
            raise LabError(
                f"The upper layer has {self.latent_dim - family.visible} dimensions by the "
                f"posterior, {self.above.latent_dim} by the prior: give both the same `top`."
            )

    def given(self, infer: Callable[[Tensor], Posterior]) -> CodeDensity:
        return self

    def log_prob(self, z: Tensor) -> Tensor:
        h1, h2 = z.tensor_split([z.shape[-1] - self.above.latent_dim], -1)
        return self.above.log_prob(h2) + self._below(h2).log_prob(h1)

    def sample(self, n: int) -> Tensor:
        h2 = self.above.sample(n)
        return torch.cat([self._below(h2).sample(1)[0], h2], -1)

    def _below(self, h2: Tensor) -> DiagonalGaussian:
        return DiagonalGaussian.from_features(self.net(h2))
