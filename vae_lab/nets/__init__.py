"""Plain networks, built for any image size, channel count and code size."""

from vae_lab.nets.adversarial import ConvCritic, ConvGenerator, MLPCritic, MLPGenerator
from vae_lab.nets.base import Decoder, Encoder, encoded, evaluating, normalises, tried
from vae_lab.nets.conv import ConvDecoder, ConvEncoder
from vae_lab.nets.mlp import MLPDecoder, MLPEncoder, make_activation
from vae_lab.nets.residual import ResidualDecoder, ResidualEncoder
from vae_lab.nets.tied import TiedDecoder

__all__ = [
    "ConvCritic",
    "ConvDecoder",
    "ConvEncoder",
    "ConvGenerator",
    "Decoder",
    "Encoder",
    "MLPCritic",
    "MLPDecoder",
    "MLPEncoder",
    "MLPGenerator",
    "ResidualDecoder",
    "ResidualEncoder",
    "TiedDecoder",
    "encoded",
    "evaluating",
    "make_activation",
    "normalises",
    "tried",
]
