"""What a network is for; the command line offers a net only where it fits."""

from torch import nn

__all__ = ["Decoder", "Encoder"]


class Encoder(nn.Module):
    """Maps images (B, C, H, W) to features (B, features); made from (shape, features)."""


class Decoder(nn.Module):
    """Maps features (B, features) to images (B, C, H, W); made from (features, shape)."""
