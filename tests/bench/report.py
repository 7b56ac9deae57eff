"""The tables: what was measured, what was wanted, and whether it was reached."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import nan
from statistics import median

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from tests.bench.evaluation import Evaluation
from tests.bench.machine import BUSY
from tests.bench.samples import Key, Sample, clean, cpu_speed, rates, speed
from tests.bench.startup import Startup

__all__ = ["Row", "print_fits", "print_others", "rows", "say_busy"]

NAMES = {
    "mlp": "MLP VAE 784-400-20",
    "conv": "conv VAE 32-64-256-20",
    "gan": "GAN 100-128-256-512-1024-784 against 784-512-256-1",
    "dcgan": "DCGAN 64-32 against 32-64",
}
TO_BARE = {"mlp": 0.90, "conv": 0.95, "gan": 0.95, "dcgan": 0.95}
TIMES = {"ordinary": 4.0, "pythae": 1.9, "PyTorch-GAN": 2.5}
STARTUP, NLL = 1.0, 35.0

HEADERS = (
    "images/s",
    "quartiles",
    "of bare",
    "in CPU time",
    "lab fit is",
    "wanted",
    "",
    "val. loss",
    "peak MiB",
    "clean blocks",
)


@dataclass(frozen=True)
class Row:
    """What one program did; ratios are medians over rounds, speeds over blocks.

    Attributes:
        images_per_second: Lower quartile, median and upper quartile of the clean blocks, if any.
        ratio: Its speed by that of the bare loop.
        cpu_ratio: The same in processor time, over all blocks; with several threads it counts
            their waiting for each other as well.
        times: By how much `lab fit` is faster, for the other programs.
        target: What `ratio` or, for a peer, `times` should be at least.
    """

    key: Key
    images_per_second: tuple[float, float, float] | None
    ratio: float | None
    cpu_ratio: float | None
    times: float | None
    target: float | None
    loss: float
    peak_mib: float
    clean: int
    blocks: int

    @property
    def met(self) -> bool | None:
        """Whether the target was reached; None if there is none, or nothing to compare with."""
        value = self.ratio if self.key.program == "lab fit" else self.times
        return None if value is None or self.target is None else value >= self.target


def rows(samples: Sequence[Sample]) -> list[Row]:
    """Return a row for every program, in the order they first ran."""
    keys = dict.fromkeys(s.key for s in samples)
    grouped = {key: [s for s in samples if s.key == key] for key in keys}
    return [_row(key, grouped) for key in keys]


def _row(key: Key, grouped: dict[Key, list[Sample]]) -> Row:
    own = grouped[key]
    bare, fit = (grouped.get(replace(key, program=name), []) for name in ("bare", "lab fit"))
    peer = key.program in TIMES
    target = TIMES[key.program] if peer else TO_BARE[key.net] if key.program == "lab fit" else None
    return Row(
        key=key,
        images_per_second=rates(own),
        ratio=_ratio(own, bare, speed),
        cpu_ratio=_ratio(own, bare, cpu_speed),
        times=_ratio(fit, own, speed) if peer else None,
        target=target,
        loss=own[-1].loss,
        peak_mib=max(s.peak_mib for s in own),
        clean=sum(len(clean(s.blocks)) for s in own),
        blocks=sum(len(s.blocks) for s in own),
    )


def _ratio(
    these: Sequence[Sample], those: Sequence[Sample], measure: Callable[[Sample], float | None]
) -> float | None:
    """Compare what ran in the same round, and take the median of the rounds."""
    others = {s.round: measure(s) for s in those}
    pairs = [(measure(s), others.get(s.round)) for s in these]
    ratios = [a / b for a, b in pairs if a and b]
    return median(ratios) if ratios else None


def print_fits(found: Sequence[Row], console: Console) -> None:
    """Print a table of training speeds for each net, number of threads and place of the cores."""
    for place in dict.fromkeys(replace(row.key, program="") for row in found):
        where = " on cores that the host runs far from each other" if place.apart else ""
        title = f"{NAMES[place.net]}, batch 128, {place.threads} thread(s){where}"
        table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
        table.add_column("program", no_wrap=True)
        for header in HEADERS:
            table.add_column(header, justify="right", no_wrap=True)
        for row in found:
            if replace(row.key, program="") == place:
                table.add_row(*_cells(row))
        console.print(table)


def _cells(row: Row) -> tuple[str, ...]:
    low, middle, high = (f"{n:,.0f}" for n in row.images_per_second or (nan,) * 3)
    known, peer = row.images_per_second is not None, row.key.program in TIMES
    return (
        row.key.program,
        middle if known else "busy",
        f"{low}-{high}" if known else "",
        _number(row.ratio),
        _number(row.cpu_ratio),
        _number(row.times, " x"),
        _number(row.target, " x" if peer else ""),
        "" if row.target is None else _verdict(row.met),
        f"{row.loss:.1f}",
        f"{row.peak_mib:,.0f}",
        f"{row.clean}/{row.blocks}",
    )


def _number(value: float | None, unit: str = "") -> str:
    return "" if value is None else f"{value:.2f}{unit}"


def print_others(startup: Startup, evaluations: Sequence[Evaluation], console: Console) -> None:
    """Print the start-up times and the speed of likelihoods."""
    over = startup.fit - startup.lightning
    in_time = over <= STARTUP if startup.clean else None
    console.print(
        f"start to first step {startup.fit:.2f} s, import lightning {startup.lightning:.2f} s: "
        f"{over:.2f} s over it, at most {STARTUP:.0f} s: {_verdict(in_time)} "
        f"({startup.clean} of {startup.runs} starts undisturbed)"
    )
    for e in evaluations:
        fast = e.nll >= NLL if e.clean else None
        target = f", at least {NLL:.0f}: {_verdict(fast)}" if e.threads == 2 else ""
        console.print(
            f"likelihood of 5,000 samples, {e.threads} thread(s): {e.nll:.1f} images/s, "
            f"{e.nll / e.products:.2f} of the two matrix products' {e.products:.1f}{target} "
            f"({e.clean} of {e.blocks} blocks clean)"
        )


def say_busy(samples: Sequence[Sample], console: Console) -> None:
    """Say how much of the time the machine had other work."""
    blocks = [block for sample in samples for block in sample.blocks]
    moved = sum(block.moved for block in blocks)
    if moved:
        console.print(f"The host moved the cores during {moved} blocks, which are left out above.")
    busy = sum(block.foreign >= BUSY for block in blocks)
    if busy:
        console.print(
            f"The machine was BUSY: {busy} of {len(blocks)} blocks saw more than {BUSY} cores of "
            "other work and are left out above. On an idle machine none would."
        )


def _verdict(met: bool | None) -> str:
    return "not measured" if met is None else "met" if met else "MISSED"
