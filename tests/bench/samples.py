"""From the marks a program left to its speed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
        drawn: Whether pictures were drawn at its end.
    """

    seconds: float
    cpu: float
    foreign: float
    drawn: bool = False


@dataclass(frozen=True)
class Key:
    """Which program, on which net, with how many threads."""

    net: str
    threads: int
    program: str


@dataclass(frozen=True)
class Sample:
    """One process of a program.

    Attributes:
        key: What ran.
        round: Samples of one round ran one after the other.
        images: Images an epoch, in training and validation.
        blocks: Its epochs after the warm-up.
        parameters: Size of the net.
        loss: Validation loss after the last epoch, in nats; the critic's of a GAN.
        peak_mib: The most memory it held.
    """

    key: Key
    round: int
    images: int
    blocks: tuple[Block, ...]
    parameters: int
    loss: float
    peak_mib: float

    @classmethod
    def from_marks(
        cls, key: Key, round: int, images: int, program: Program, marks: Sequence[dict[str, Any]]
    ) -> "Sample":
        """Read the marks that `program` left."""
        every = program.draw_every
        times = [Reading(*m["clocks"]) for m in marks if m["event"] in ("epoch", "end")]
        blocks = [
            Block(
                end.wall - start.wall,
                end.own - start.own,
                foreign_cores(start, end),
                drawn=bool(every and not n % every),
            )
            for n, (start, end) in enumerate(pairwise(times), 1)
        ]
        last = marks[-1]
        tail = last["parameters"], last["loss"], last["peak_mib"]
        return cls(key, round, images, tuple(blocks[program.warmup :]), *tail)


def clean(blocks: Iterable[Block]) -> list[Block]:
    """Leave out the blocks during which the machine was busy with something else."""
    return [block for block in blocks if block.foreign < BUSY]


def speed(sample: Sample) -> float | None:
    """Return images/s over the clean blocks of a sample, None where its plain ones were busy."""
    blocks = clean(sample.blocks)
    if all(b.drawn for b in blocks):
        return None
    return sample.images / _typical([(b.seconds, b.drawn) for b in blocks])


def cpu_speed(sample: Sample) -> float:
    """Return images a second of processor time, which a busy machine disturbs much less."""
    return sample.images / _typical([(b.cpu, b.drawn) for b in sample.blocks])


def _typical(epochs: Sequence[tuple[float, bool]]) -> float:
    """Weigh epochs with and without pictures as they occur in a long run."""
    plain = median(time for time, drawn in epochs if not drawn)
    with_pictures = [time for time, drawn in epochs if drawn]
    return plain + DRAWN_SHARE * (median(with_pictures) - plain) if with_pictures else plain


def rates(samples: Iterable[Sample]) -> tuple[float, float, float] | None:
    """Return lower quartile, median and upper quartile of images/s over clean blocks, if any."""
    each = [s.images / b.seconds for s in samples for b in clean(s.blocks)]
    if not each:
        return None
    low, middle, high = quantiles(each * 2 if len(each) == 1 else each, n=4)
    return low, middle, high
