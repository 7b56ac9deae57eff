"""The way of PyTorch-GAN's gan.py, on the same nets, in words of our own.

Images are transformed one by one, probabilities instead of logits are compared with ones and
zeros, the generator's step leaves gradients in the critic, and both losses are printed each step.
"""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import MNIST
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

from tests.bench import gan_nets, nets
from tests.bench.work import BATCH, EVAL_BATCH, Work, mark_end, mark_epoch

bce = nn.BCELoss()


def main(work: Work) -> None:
    """Train, with one validation an epoch, which gan.py has not, and leave marks."""
    torch.manual_seed(0)
    transform = Compose([Resize(28), ToTensor(), Normalize([0.5], [0.5])])
    digits = MNIST(work.root, transform=transform)
    train = DataLoader(Subset(digits, range(work.train)), BATCH, shuffle=True)
    val = DataLoader(Subset(digits, range(50_000, 50_000 + work.val)), EVAL_BATCH)
    generator = nn.Sequential(gan_nets.generator(work.net), nn.Tanh())
    critic = nn.Sequential(gan_nets.critic(work.net), nn.Sigmoid())
    adams = [torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999)) for net in (generator, critic)]
    for epoch in range(work.epochs):
        mark_epoch()
        for number, (real, _) in enumerate(train):
            losses = _step(real, generator, critic, *adams)
            said = " ".join(f"{name} {loss.item():.4f}" for name, loss in losses.items())
            print(f"epoch {epoch}/{work.epochs} batch {number}/{len(train)} {said}")
        with torch.no_grad():
            means = [
                2 * _critic_loss(x, generator(torch.randn(len(x), gan_nets.NOISE)), critic)
                for x, _ in val
            ]
    mark_end(nets.count(generator, critic), torch.stack(means).mean().item())


def _step(
    real: Tensor,
    generator: nn.Module,
    critic: nn.Module,
    generator_adam: torch.optim.Optimizer,
    critic_adam: torch.optim.Optimizer,
) -> dict[str, Tensor]:
    generator_adam.zero_grad()
    fake = generator(torch.randn(len(real), gan_nets.NOISE))
    generator_loss = bce(critic(fake), torch.ones(len(real), 1))
    generator_loss.backward()
    generator_adam.step()
    critic_adam.zero_grad()
    critic_loss = _critic_loss(real, fake.detach(), critic)
    critic_loss.backward()
    critic_adam.step()
    return {"critic": critic_loss, "generator": generator_loss}


def _critic_loss(real: Tensor, fake: Tensor, critic: nn.Module) -> Tensor:
    ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)
    loss: Tensor = (bce(critic(real), ones) + bce(critic(fake), zeros)) / 2
    return loss


if __name__ == "__main__":
    main(Work.from_argument())
