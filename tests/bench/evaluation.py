"""Importance-sampled likelihoods, beside the time that the decoder's two products alone take."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from tests.bench.machine import BUSY, Reading, foreign_cores
from tests.bench.processes import run
from tests.bench.work import mark
from vae_lab import process
from vae_lab.contracts import Batch
from vae_lab.metrics.evidence import bounds
from vae_lab.models import VAE

__all__ = ["Evaluation", "measure_evaluation"]

SAMPLES, IMAGES, ROWS, HIDDEN = 5000, 16, 800, 400


@dataclass(frozen=True)
class Evaluation:
    """Images/s of the likelihood and of its matrix products, medians over clean blocks."""

    threads: int
    nll: float
    products: float
    clean: int
    blocks: int


def measure_evaluation(threads: int, turns: int, scratch: Path) -> Evaluation:
    """Measure both in one fresh process, block by block in turn."""
    command = [sys.executable, "-m", "tests.bench.evaluation", json.dumps(turns)]
    marks = run(command, threads, scratch)
    found: dict[str, list[tuple[float, float]]] = {"nll": [], "products": []}
    for start, end in zip(marks[::2], marks[1::2], strict=True):
        begun, done = Reading(*start["clocks"]), Reading(*end["clocks"])
        block = (IMAGES / (done.wall - begun.wall), foreign_cores(begun, done))
        found[start["event"]].append(block)
    quiet = sum(foreign < BUSY for each in found.values() for _, foreign in each)
    middles = {name: median(_undisturbed(each)) for name, each in found.items()}
    return Evaluation(threads, **middles, clean=quiet, blocks=len(marks) // 2)


def _undisturbed(blocks: list[tuple[float, float]]) -> list[float]:
    quiet = [rate for rate, foreign in blocks if foreign < BUSY]
    return quiet or [rate for rate, _ in blocks]


def main(turns: int) -> None:
    """Run the blocks, each between two marks."""
    process.tune()
    model = VAE((1, 28, 28), latent_dim=20).eval()
    batch = Batch(torch.rand(IMAGES, 1, 28, 28).round(), torch.zeros(IMAGES))
    blocks: dict[str, Callable[[], object]] = {
        "nll": lambda: bounds(model, batch, SAMPLES, 0, lambda count: None),
        "products": _products,
    }
    for block in blocks.values():
        block()
    for _ in range(turns):
        for name, block in blocks.items():
            mark(name)
            block()
            mark("done")


def _products() -> None:
    codes, inner = torch.rand(ROWS, 20), torch.rand(20, HIDDEN)
    outer, logits = torch.rand(HIDDEN, 784), torch.empty(ROWS, 784)
    for _ in range(SAMPLES * IMAGES // ROWS):
        torch.mm(codes @ inner, outer, out=logits)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
