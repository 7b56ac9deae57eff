"""The programs that are measured."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench.processes import lab
from tests.bench.work import Work

__all__ = ["Program", "fit_command", "programs"]

DRAW_EVERY = 4
"""Epochs between pictures in the benchmark, so that a short run has both kinds of epoch."""

MODELS = {
    "mlp": ("VAE",),
    "conv": ("VAE", "--model.encoder", "ConvEncoder", "--model.decoder", "ConvDecoder"),
    "gan": ("GAN",),
    "dcgan": ("GAN", "--model.generator", "ConvGenerator", "--model.critic", "ConvCritic"),
}
"""What each net is to `lab fit`."""


@dataclass(frozen=True)
class Program:
    """A program and how to read its marks.

    Attributes:
        command: Its command line.
        warmup: Epochs at its start that are not measured.
        draw_every: Epochs between pictures, if it draws any.
        seldom: Whether it need not run in every round, as no ratio to bare is wanted of it.
    """

    name: str
    command: list[str]
    warmup: int = 1
    draw_every: int | None = None
    seldom: bool = False


def programs(work: Work, pythae: Path | None) -> list[Program]:
    """Return the programs that can do `work`, the yardstick first."""
    tuned = replace(work, epochs=1 + DRAW_EVERY)
    marks = "--trainer.callbacks+=tests.bench.marks.EpochMarks"
    fit = [*fit_command(tuned, DRAW_EVERY), marks]
    half = [*fit, "--trainer.precision", "bf16-mixed"]
    loop = "bare_gan_loop" if "gan" in work.net else "bare_loop"
    found = [
        Program("bare", _module(sys.executable, loop, tuned)),
        Program("lab fit", fit, draw_every=DRAW_EVERY),
        Program("lab fit, bf16", half, draw_every=DRAW_EVERY, seldom=True),
    ]
    if work.net == "gan":
        found.append(_peer("PyTorch-GAN", sys.executable, "pytorch_gan_loop", work))
    if work.net == "mlp":
        found.append(_peer("ordinary", sys.executable, "ordinary_loop", work))
    if work.net == "mlp" and pythae:
        found.append(_peer("pythae", str(pythae), "pythae_loop", work))
    return found


def _peer(name: str, python: str, loop: str, work: Work) -> Program:
    # After two epochs Adam's moments are as denormal as they will be for the rest of a run.
    return Program(name, _module(python, loop, replace(work, epochs=4)), warmup=2, seldom=True)


def _module(python: str, loop: str, work: Work) -> list[str]:
    return [python, "-m", f"tests.bench.{loop}", work.to_argument()]


def fit_command(work: Work, draw_every: int) -> list[str]:
    """Return `lab fit` as a user types it: default logger, checkpoints, bar and pictures."""
    settings = {
        "--data": "MNIST",
        "--data.root": work.root,
        "--data.limit": work.train,
        "--data.val_size": work.val,
        "--trainer.max_epochs": work.epochs,
        "--pictures.every": draw_every,
    }
    words = [str(word) for pair in settings.items() for word in pair]
    return [lab(), "fit", *words, "--model", *MODELS[work.net]]
