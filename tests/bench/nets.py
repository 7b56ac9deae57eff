"""The two VAEs in plain PyTorch, as the bare loop, the ordinary way and pythae train them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LATENT", "count", "decoder", "encoder", "forward", "objective"]

LATENT = 20


def encoder(net: str) -> nn.Sequential:
    """Map images (B, 1, 28, 28) to means and log-variances (B, 2 LATENT)."""
    if net == "mlp":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 2 * LATENT)
        )
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3136, 256),
        nn.ReLU(),
        nn.Linear(256, 2 * LATENT),
    )


def decoder(net: str) -> nn.Sequential:
    """Map codes (B, LATENT) to logits (B, 1, 28, 28)."""
    if net == "mlp":
        return nn.Sequential(
            nn.Linear(LATENT, 400), nn.ReLU(), nn.Linear(400, 784), nn.Unflatten(1, (1, 28, 28))
        )
    return nn.Sequential(
        nn.Linear(LATENT, 256),
        nn.ReLU(),
        nn.Linear(256, 3136),
        nn.Unflatten(1, (64, 7, 7)),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 4, 2, 1),
    )


def forward(encode: nn.Module, decode: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits of a sampled code, and the posterior's means and log-variances."""
    mean, log_variance = encode(x).chunk(2, -1)
    z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
    return decode(z), mean, log_variance


def objective(
    x: Tensor, logits: Tensor, mean: Tensor, log_variance: Tensor
) -> tuple[Tensor, Tensor]:
    """Return reconstruction and divergence, summed over pixels, averaged over images, in nats."""
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum()
    return reconstruction / len(x), kl / len(x)


def count(*parts: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for part in parts for p in part.parameters())
