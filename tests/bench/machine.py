"""What the machine was doing while a program was measured."""

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BUSY", "Patience", "Reading", "cores_apart", "describe", "foreign_cores", "read"]

BUSY = 0.15
"""Cores' worth of foreign work above which a block is not believed."""


class Reading(NamedTuple):
    """Clocks at one moment, in seconds.

    Attributes:
        wall: A clock that all processes of the machine share.
        own: Processor time of this process, all threads, user and system.
        busy: Processor time that all cores together were not idle.
    """

    wall: float
    own: float
    busy: float


def read() -> Reading:
    """Read the clocks."""
    return Reading(time.monotonic(), time.process_time(), _busy())


def foreign_cores(start: Reading, end: Reading) -> float:
    """Return how many cores others kept busy between two readings of one process."""
    others = (end.busy - start.busy) - (end.own - start.own)
    return others / (end.wall - start.wall)


def cores_apart() -> bool:
    """Tell whether this process's threads are slow to take over what each other wrote.

    A host may run two virtual cores far from each other, and move them whenever they are idle. Two
    threads that hand over half of what they write then take 0.5 of the time that one takes alone,
    but 0.25 near each other, as what both write stays in their caches.
    """
    import torch

    if torch.get_num_threads() == 1:
        return False
    numbers = torch.zeros(2**20)
    # PyTorch gives the first thread the first half of what it counts up, the whole or a half, and
    # leaves what is no longer than 2^15 to one thread.
    shared, alone = [numbers, *numbers.chunk(2)], [*numbers.split(2**15)] * 2
    turns = [(_count(shared), _count(alone)) for _ in range(30)]
    together, one = (median(times) for times in zip(*turns, strict=True))
    return together > 0.38 * one


def _count(parts: Sequence["Tensor"]) -> float:
    """Count all parts up, and return how many seconds that took."""
    begun = time.perf_counter()
    for part in parts:
        part.add_(1)
    return time.perf_counter() - begun


@dataclass
class Patience:
    """Waits for the others to finish, for so many seconds in all."""

    left: float = 300.0

    def quiet(self) -> bool:
        """Return whether the machine is idle now, or became so while there was patience left."""
        while True:
            start = read()
            time.sleep(1)
            end = read()
            if foreign_cores(start, end) < BUSY:
                return True
            self.left -= end.wall - start.wall
            if self.left <= 0:
                return False


def describe() -> str:
    """Name the processor, its cores and the versions that matter."""
    from importlib.metadata import version

    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning", "numpy"))
    return f"{_processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}"


def _busy() -> float:
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    except OSError:  # Not Linux: nothing is known of the others.
        return time.process_time()
    user, nice, system, _idle, _waiting, *rest = ticks
    # `rest` is interrupts and what the hypervisor gave to other guests.
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
