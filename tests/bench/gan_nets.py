"""The two GANs in plain PyTorch, as the bare loop and PyTorch-GAN's way train them."""

from torch import nn

__all__ = ["NOISE", "critic", "generator"]

NOISE = 100


def generator(net: str) -> nn.Sequential:
    """Map noise (B, NOISE) to images (B, 1, 28, 28), unbounded."""
    if net == "gan":
        layers: list[nn.Module] = [nn.Linear(NOISE, 128), nn.LeakyReLU(0.2, inplace=True)]
        for inner, outer in ((128, 256), (256, 512), (512, 1024)):
            linear = nn.Linear(inner, outer, bias=False)
            layers += [linear, nn.BatchNorm1d(outer), nn.LeakyReLU(0.2, inplace=True)]
        return nn.Sequential(*layers, nn.Linear(1024, 784), nn.Unflatten(1, (1, 28, 28)))
    return nn.Sequential(
        nn.Linear(NOISE, 3136),
        nn.Unflatten(1, (64, 7, 7)),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(64, 32, 4, 2, 1),
        nn.BatchNorm2d(32),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(32, 1, 4, 2, 1),
    )


def critic(net: str) -> nn.Sequential:
    """Map images (B, 1, 28, 28) to logits (B, 1)."""
    if net == "gan":
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(784, 512),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(512, 256),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(256, 1),
        )
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, 2, 1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(32, 64, 4, 2, 1, bias=False),
        nn.BatchNorm2d(64),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Flatten(),
        nn.Linear(3136, 1),
    )
