"""The yardstick of adversarial training: one generator pass a step, and an averaged generator."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torchvision.datasets import MNIST

from tests.bench import gan_nets, nets
from tests.bench.work import BATCH, EVAL_BATCH, Work, mark_end, mark_epoch
from vae_lab import process


def main(work: Work) -> None:
    """Train, with one validation an epoch, and leave marks."""
    process.tune()  # Denormals flushed, memory kept, CUDA hidden; before any torch operation.
    torch.manual_seed(0)
    images = MNIST(work.root).data.unsqueeze(1)
    train, val = images[: work.train], images[50_000 : 50_000 + work.val]
    layout = torch.channels_last if work.net == "dcgan" else torch.contiguous_format
    generator = gan_nets.generator(work.net).to(memory_format=layout)
    critic = gan_nets.critic(work.net).to(memory_format=layout)
    average = deepcopy(generator).requires_grad_(False)
    adams = [
        torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999), fused=True)
        for net in (generator, critic)
    ]
    for _ in range(work.epochs):
        mark_epoch()
        for number, rows in enumerate(torch.randperm(len(train)).split(BATCH)):
            _step(train[rows], generator, critic, *adams)
            _follow(average, generator, number)
        mean = _validate(val, average.eval(), critic.eval())
        average.train()
        critic.train()
    mark_end(nets.count(generator, critic), mean)


def _step(
    pixels: Tensor,
    generator: nn.Module,
    critic: nn.Module,
    generator_adam: torch.optim.Optimizer,
    critic_adam: torch.optim.Optimizer,
) -> None:
    fake = generator(torch.randn(len(pixels), gan_nets.NOISE)).tanh()
    critic_adam.zero_grad()
    _critic_loss(pixels, fake.detach(), critic).backward()
    critic_adam.step()
    generator_adam.zero_grad()
    critic.requires_grad_(False)
    softplus(-critic(fake)).mean().backward()
    critic.requires_grad_(True)
    generator_adam.step()


def _critic_loss(pixels: Tensor, fake: Tensor, critic: nn.Module) -> Tensor:
    real = pixels.float().div_(127.5).sub_(1)
    return (softplus(-critic(real)) + softplus(critic(fake))).mean()


@torch.no_grad()
def _follow(average: nn.Module, generator: nn.Module, number: int) -> None:
    torch._foreach_lerp_([*average.parameters()], [*generator.parameters()], 0.001)
    if number % 10 == 0:
        average(torch.randn(BATCH, gan_nets.NOISE))


@torch.inference_mode()
def _validate(val: Tensor, generator: nn.Module, critic: nn.Module) -> float:
    losses = [
        _critic_loss(part, generator(torch.randn(len(part), gan_nets.NOISE)).tanh(), critic)
        for part in val.split(EVAL_BATCH)
    ]
    return torch.stack(losses).mean().item()


if __name__ == "__main__":
    main(Work.from_argument())
