"""The ordinary way: torchvision, ToTensor, DataLoader, self.log each step, Lightning's defaults."""

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

from tests.bench import nets
from tests.bench.marks import EpochMarks
from tests.bench.work import BATCH, EVAL_BATCH, Work


class OrdinaryVAE(L.LightningModule):
    """As a tutorial would write it."""

    def __init__(self, net: str) -> None:
        super().__init__()
        self.encoder = nets.encoder(net)
        self.decoder = nets.decoder(net)

    def step(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        x, _ = batch
        reconstruction, kl = nets.objective(x, *nets.forward(self.encoder, self.decoder, x))
        loss = reconstruction + kl
        self.log(f"{stage}/loss", loss, prog_bar=True)
        self.log(f"{stage}/reconstruction", reconstruction)
        self.log(f"{stage}/kl", kl)
        return loss

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.step(batch, "val")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main(work: Work) -> None:
    """Train, with one validation an epoch, and leave marks."""
    L.seed_everything(0)
    digits = MNIST(work.root, transform=ToTensor())
    train = Subset(digits, range(work.train))
    val = Subset(digits, range(50_000, 50_000 + work.val))
    trainer = L.Trainer(max_epochs=work.epochs, callbacks=[EpochMarks()])
    trainer.fit(
        OrdinaryVAE(work.net),
        DataLoader(train, BATCH, shuffle=True),
        DataLoader(val, EVAL_BATCH),
    )


if __name__ == "__main__":
    main(Work.from_argument())
