"""The yardstick: a bare tuned PyTorch loop that does the same work as `lab fit`, and no more."""

import torch
from torch import Tensor
from torchvision.datasets import MNIST

from tests.bench import nets
from tests.bench.work import BATCH, EVAL_BATCH, Work, mark_end, mark_epoch
from vae_lab import process


def main(work: Work) -> None:
    """Train, with one validation an epoch, and leave marks."""
    process.tune()  # Denormals flushed, memory kept, CUDA hidden; before any torch operation.
    torch.manual_seed(0)
    images = MNIST(work.root).data.unsqueeze(1)
    train, val = images[: work.train], images[50_000 : 50_000 + work.val]
    layout = torch.channels_last if work.net == "conv" else torch.contiguous_format
    encode = nets.encoder(work.net).to(memory_format=layout)
    decode = nets.decoder(work.net).to(memory_format=layout)
    parameters = [*encode.parameters(), *decode.parameters()]
    optimizer = torch.optim.Adam(parameters, 1e-3, fused=True)

    def loss(pixels: Tensor) -> Tensor:
        x = pixels.float().div_(255)
        reconstruction, kl = nets.objective(x, *nets.forward(encode, decode, x))
        return reconstruction + kl

    for _ in range(work.epochs):
        mark_epoch()
        for rows in torch.randperm(len(train)).split(BATCH):
            optimizer.zero_grad()
            loss(train[rows]).backward()
            optimizer.step()
        with torch.inference_mode():
            losses = [loss(part) for part in val.split(EVAL_BATCH)]
        mean = torch.stack(losses).mean().item()
    mark_end(nets.count(encode, decode), mean)


if __name__ == "__main__":
    main(Work.from_argument())
