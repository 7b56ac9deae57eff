"""From the marks a program left to its speed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median, quantiles
from typing import Any

from tests.bench.machine import BUSY, Reading, foreign_cores
from tests.bench.programs import Program

__all__ = ["Block", "Key", "Sample", "clean", "cpu_speed", "rates", "speed"]

DRAWN_SHARE = 0.1
"""`lab fit` draws its pictures every tenth epoch, whatever the benchmark lets it do."""


@dataclass(frozen=True)
class Block:
    """One measured epoch.

    Attributes:
        seconds: From its start to the start of the next.
        cpu: Processor time of the program, in seconds.
        foreign: Cores that other processes kept busy meanwhile.
        apart: Whether the cores were far from each other at its start.
        moved: Whether that changed until its end.
        drawn: Whether pictures were drawn at its end.
    """

    seconds: float
    cpu: float
    foreign: float
    apart: bool
    moved: bool
    drawn: bool


@dataclass(frozen=True)
class Key:
    """Which program, on which net, with how many threads, on cores that are far from each other."""

    net: str
    threads: int
    program: str
    apart: bool = False


@dataclass(frozen=True)
class Sample:
    """One process of a program, while its cores were where they were.

    Attributes:
        key: What ran.
        round: Samples of one round ran one after the other.
        images: Images an epoch, in training and validation.
        draws: Whether pictures belong to its work.
        blocks: Its epochs after the warm-up.
        parameters: Size of the net.
        loss: Validation loss after the last epoch, in nats; the critic's of a GAN.
        peak_mib: The most memory it held.
    """

    key: Key
    round: int
    images: int
    draws: bool
    blocks: tuple[Block, ...]
    parameters: int
    loss: float
    peak_mib: float

    @classmethod
    def from_marks(
        cls, key: Key, round: int, images: int, program: Program, marks: Sequence[dict[str, Any]]
    ) -> "list[Sample]":
        """Read the marks that `program` left; one sample for each place that its cores were in."""
        last, draws = marks[-1], program.draw_every is not None
        tail = last["parameters"], last["loss"], last["peak_mib"]
        blocks = _blocks(marks, program)
        return [
            cls(replace(key, apart=apart), round, images, draws, tuple(there), *tail)
            for apart in (False, True)
            if (there := [block for block in blocks if block.apart == apart])
        ]


def _blocks(marks: Sequence[dict[str, Any]], program: Program) -> list[Block]:
    bounds = [(Reading(*m["clocks"]), m["apart"]) for m in marks if "apart" in m]
    blocks = [
        Block(
            end.wall - start.wall,
            end.own - start.own,
            foreign_cores(start, end),
            apart,
            moved=apart != apart_then,
            drawn=bool(program.draw_every and not n % program.draw_every),
        )
        for n, ((start, apart), (end, apart_then)) in enumerate(pairwise(bounds), 1)
    ]
    return blocks[program.warmup :]


def clean(blocks: Iterable[Block]) -> list[Block]:
    """Leave out blocks while the machine was busy with something else, or moved the cores."""
    return [block for block in blocks if block.foreign < BUSY and not block.moved]


def speed(sample: Sample) -> float | None:
    """Return images/s over the clean blocks of a sample, None if a kind of epoch has none."""
    return _rate(sample, [(b.seconds, b.drawn) for b in clean(sample.blocks)])


def cpu_speed(sample: Sample) -> float | None:
    """Return images a second of processor time, which a busy machine disturbs much less."""
    return _rate(sample, [(b.cpu, b.drawn) for b in sample.blocks])


def _rate(sample: Sample, epochs: Sequence[tuple[float, bool]]) -> float | None:
    """Weigh epochs with and without pictures as they occur in a long run."""
    plain = [time for time, drawn in epochs if not drawn]
    with_pictures = [time for time, drawn in epochs if drawn]
    if not plain or (sample.draws and not with_pictures):
        return None
    seconds = median(plain)
    if with_pictures:
        seconds += DRAWN_SHARE * (median(with_pictures) - seconds)
    return sample.images / seconds


def rates(samples: Iterable[Sample]) -> tuple[float, float, float] | None:
    """Return lower quartile, median and upper quartile of images/s over clean blocks, if any."""
    each = [s.images / b.seconds for s in samples for b in clean(s.blocks)]
    if not each:
        return None
    low, middle, high = quantiles(each * 2 if len(each) == 1 else each, n=4)
    return low, middle, high
