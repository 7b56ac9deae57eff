"""Penalties on an autoencoder's code, added to its reconstruction loss."""

from abc import ABC, abstractmethod
from typing import Protocol

from torch import Tensor, nn

from vae_lab.arguments import at_least, not_negative
from vae_lab.errors import LabError
from vae_lab.losses import bernoulli_kl, hutchinson_norm, sigmoid_jacobian_norm
from vae_lab.precision import at_least_single

__all__ = ["Contraction", "KLSparsity", "L1Sparsity", "Penalised", "Penalty", "sigmoid_layer"]


class Penalised(Protocol):
    """The parts of a model that penalties use."""

    @property
    def encoder(self) -> nn.Module:
        """Network from images to codes."""

    @property
    def activation(self) -> nn.Module:
        """The code's activation."""

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes of images (B, C, H, W), shape (B, latent_dim)."""


class Penalty(ABC):
    """Base of all penalties.

    Args:
        weight: Weight of the penalty in the objective.

    Attributes:
        of_probabilities: Whether it needs a code in (0, 1), whose units are probabilities.

    Raises:
        LabError: If `weight` is negative or not finite.
    """

    of_probabilities = False

    def __init__(self, weight: float) -> None:
        not_negative(weight=weight)
        self.weight = weight

    def __call__(self, model: Penalised, x: Tensor, code: Tensor) -> Tensor:
        """Return the weighted penalty of each image.

        Args:
            model: The penalised model.
            x: The encoder's input, shape (B, C, H, W).
            code: The codes, shape (B, latent_dim).

        Returns:
            Shape (B,).
        """
        return self.weight * self.measure(model, x, at_least_single(code))

    def check(self, model: Penalised) -> None:
        """Refuse a model that this penalty does not fit.

        Raises:
            LabError: If it needs probabilities and the code's units are none.
        """
        if self.of_probabilities and not isinstance(model.activation, nn.Sigmoid):
            name = type(self).__name__
            raise LabError(f"{name} compares probabilities: give the model activation Sigmoid.")

    def differentiates_twice(self, model: Penalised) -> bool:
        """Return whether it contains gradients, which training differentiates again."""
        return False

    @abstractmethod
    def measure(self, model: Penalised, x: Tensor, code: Tensor) -> Tensor:
        """Return the unweighted penalty, shape (B,)."""


class L1Sparsity(Penalty):
    r"""L1 norm of the code.

    .. math:: \lambda \sum_j |h_j|

    Args:
        weight: Weight of the penalty in the objective.

    Raises:
        LabError: If `weight` is negative or not finite.
    """

    def __init__(self, weight: float = 0.1) -> None:
        super().__init__(weight)

    def measure(self, model: Penalised, x: Tensor, code: Tensor) -> Tensor:
        return code.abs().sum(1)


class KLSparsity(Penalty):
    r"""KL divergence of each unit's mean activation from a low target.

    .. math:: \beta \sum_j \rho \log \frac{\rho}{\hat\rho_j}
        + (1 - \rho) \log \frac{1 - \rho}{1 - \hat\rho_j}, \quad
        \hat\rho_j = \mathbb{E}_x h_j(x)

    The mean is over the batch. The code must lie between 0 and 1: give the autoencoder the
    activation Sigmoid.

    Args:
        target: Target of the mean activation, between 0 and 1.
        weight: Weight of the penalty in the objective.

    Raises:
        LabError: If `target` is not between 0 and 1, `weight` is negative, or the code has no
            sigmoid activation.

    References:
        Ng, Sparse Autoencoder, CS294A lecture notes, 2011; after Lee et al., Sparse Deep Belief Net
        Model for Visual Area V2, 2008, with a squared difference of the means.
    """

    of_probabilities = True

    def __init__(self, target: float = 0.1, weight: float = 3.0) -> None:
        super().__init__(weight)

        if not 0 < target < 1:
            raise LabError(f"A target activation lies between 0 and 1; got {target}.")
        self.target = target

    def measure(self, model: Penalised, x: Tensor, code: Tensor) -> Tensor:
        return bernoulli_kl(self.target, code.mean(0)).sum().expand(len(code))


class Contraction(Penalty):
    r"""Squared Frobenius norm of the encoder's Jacobian.

    .. math:: \lambda \| \partial h / \partial x \|_F^2

    It is exact for one sigmoid layer. For deeper encoders it is Hutchinson's unbiased estimate,
    which differentiates twice and takes about three times as long.

    Args:
        weight: Weight of the penalty in the objective.
        probes: Random projections per image in Hutchinson's estimate.

    Raises:
        LabError: If `weight` is negative or `probes` below 1.

    References:
        Rifai et al., Contractive Auto-Encoders, 2011.
        https://icml.cc/2011/papers/455_icmlpaper.pdf
    """

    def __init__(self, weight: float = 0.1, probes: int = 1) -> None:
        super().__init__(weight)

        at_least(1, probes=probes)
        self.probes = probes

    def differentiates_twice(self, model: Penalised) -> bool:
        return sigmoid_layer(model) is None

    def measure(self, model: Penalised, x: Tensor, code: Tensor) -> Tensor:
        if (weight := sigmoid_layer(model)) is not None:
            return sigmoid_jacobian_norm(code, weight)
        return hutchinson_norm(model.encode, x, self.probes)


def sigmoid_layer(model: Penalised) -> Tensor | None:
    """Return the weights (latent_dim, pixels) of an encoder that is one sigmoid layer."""
    layers = [m for m in model.encoder.modules() if next(m.parameters(False), None) is not None]
    sigmoid = isinstance(model.activation, nn.Sigmoid)
    if sigmoid and len(layers) == 1 and isinstance(layers[0], nn.Linear):
        return layers[0].weight
    return None
