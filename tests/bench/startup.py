"""How long `lab fit` takes to its first training step, beside `import lightning` alone."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.machine import BUSY, Reading, read
from tests.bench.processes import run
from tests.bench.programs import fit_command
from tests.bench.work import Work

__all__ = ["Startup", "measure_startup"]

IMPORT = "import lightning; from tests.bench.work import mark; mark('step')"


@dataclass(frozen=True)
class Startup:
    """Medians over fresh processes, in seconds, and how many of them ran undisturbed."""

    lightning: float
    fit: float
    clean: int
    runs: int


def measure_startup(
    work: Work, runs: int, scratch: Path, progress: Callable[[str], object]
) -> Startup:
    """Start both programs in turn; the first of each only warms the disk's cache."""
    commands = {
        "lightning": [sys.executable, "-c", IMPORT],
        "fit": [*fit_command(work, 10), "--trainer.callbacks+=tests.bench.marks.FirstStep"],
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            seconds, foreign = _start(command, scratch)
            progress(f"start of {name}: {seconds:.2f} s, foreign load {foreign:.2f} cores")
            if turn:
                times[name].append((seconds, foreign))
    middles = {name: median(_undisturbed(each)) for name, each in times.items()}
    quiet = sum(foreign < BUSY for each in times.values() for _, foreign in each)
    return Startup(**middles, clean=quiet, runs=2 * runs)


def _start(command: list[str], scratch: Path) -> tuple[float, float]:
    begun = read()
    end = Reading(*run(command, None, scratch)[-1]["clocks"])
    seconds = end.wall - begun.wall
    # The process began after `begun`, so all of its own time counts.
    return seconds, (end.busy - begun.busy - end.own) / seconds


def _undisturbed(times: list[tuple[float, float]]) -> list[float]:
    quiet = [seconds for seconds, foreign in times if foreign < BUSY]
    return quiet or [seconds for seconds, _ in times]
