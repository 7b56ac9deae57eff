"""What every program is told to do, and the marks it leaves while doing it."""

import json
import os
import resource
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench.machine import cores_apart, read

__all__ = ["BATCH", "EVAL_BATCH", "MARKS", "Work", "mark", "mark_end", "mark_epoch"]

BATCH, EVAL_BATCH = 128, 1000
MARKS = "VAE_LAB_BENCH_MARKS"
"""Environment variable that names the file the marks go to."""


@dataclass(frozen=True)
class Work:
    """One training run.

    Attributes:
        net: `mlp` or `conv`, of a VAE; `gan` or `dcgan`.
        epochs: How many.
        train: Training images.
        val: Validation images, all of them once an epoch.
        root: Folder with the MNIST files.
    """

    net: str
    epochs: int
    train: int
    val: int
    root: str

    def to_argument(self) -> str:
        """Write it as one word of a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_argument(cls) -> "Work":
        """Read it from the command line of this process."""
        return cls(**json.loads(sys.argv[1]))


def mark(event: str, **what: Any) -> None:
    """Note the clocks and `what` happened."""
    line = json.dumps({"event": event, "clocks": read(), **what})
    with Path(os.environ[MARKS]).open("a") as file:
        file.write(line + "\n")


def mark_epoch() -> None:
    """Note that an epoch begins, and where its cores are."""
    mark("epoch", apart=cores_apart())


def mark_end(parameters: int, loss: float) -> None:
    """Note the end of training, the size of the net and its validation loss, and the memory."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    mark("end", apart=cores_apart(), parameters=parameters, loss=loss, peak_mib=peak)
