"""Decoders that share the weights of their encoders."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from vae_lab.contracts import Shape
from vae_lab.errors import LabError
from vae_lab.nets.mlp import MLPEncoder

__all__ = ["TiedDecoder"]


class TiedDecoder(nn.Module):
    r"""Decodes with an encoder's transposed weights, and biases of its own.

    .. math:: z \mapsto W_1^\top a(W_2^\top z + c_2) + c_1

    Args:
        encoder: The encoder, whose layers and activations are applied in reverse.
        shape: Channels, height and width of an image.

    Raises:
        LabError: If the encoder is not an MLPEncoder, has gates, or takes images of another size.
    """

    def __init__(self, encoder: nn.Module, shape: Shape) -> None:
        super().__init__()

        if not isinstance(encoder, MLPEncoder):
            raise LabError(
                f"Only an MLPEncoder's weights can be tied, no {type(encoder).__name__}'s."
            )
        if any(isinstance(layer, nn.GLU) for layer in encoder):
            raise LabError("Weights of gated layers cannot be tied: choose an activation but GLU.")
        # In a list, so that PyTorch does not register the layers as the decoder's.
        self._layers = list(encoder)[:0:-1]
        linears = [layer for layer in self._layers if isinstance(layer, nn.Linear)]
        if linears[-1].in_features != torch.Size(shape).numel():
            raise LabError(
                "Tied weights leave the likelihood one output a pixel: learn no scale for each."
            )
        self.biases = nn.ParameterList(torch.zeros(layer.in_features) for layer in linears)
        self.shape = shape

    def forward(self, z: Tensor) -> Tensor:
        """Return images (B, C, H, W), unbounded, of codes (B, features)."""
        biases = iter(self.biases)
        for layer in self._layers:
            if isinstance(layer, nn.Linear):
                z = linear(z, layer.weight.t(), next(biases))
            else:
                z = layer(z)
        return z.view(-1, *self.shape)
