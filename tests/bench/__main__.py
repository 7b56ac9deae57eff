"""`python -m tests.bench [--quick]`: measure, print, and write `.bench/results.json`."""

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from tests.bench import report
from tests.bench.digits import find_root
from tests.bench.evaluation import measure_evaluation
from tests.bench.machine import Patience, describe
from tests.bench.peers import pythae_python
from tests.bench.processes import ROOT, ProgramFailed, run
from tests.bench.programs import Program, programs
from tests.bench.samples import Key, Sample, clean, speed
from tests.bench.startup import measure_startup
from tests.bench.work import Work

SCRATCH = ROOT / ".bench"


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Attributes:
        rounds: Rounds of the bare loop and `lab fit`, for each net, by threads. Two take more, as
            only programs of a round whose cores were in the same place compare.
        seldom: In how many of those the other programs run too, for each number of threads.
        images: Training images, for each net; a fifth of that is validated on.
        starts: Start-ups of each kind.
        turns: Blocks of each kind in the evaluation.
    """

    rounds: dict[str, dict[int, int]]
    seldom: dict[int, int]
    images: dict[str, int]
    starts: int
    turns: int


# Fewer images than these, and what `lab fit` does once an epoch would weigh more than it does in
# training: the convolutions see a quarter of MNIST, the fully connected nets all of it.
FULL = Plan(
    rounds={"mlp": {1: 4, 2: 8}, "conv": {1: 2, 2: 3}, "gan": {1: 3, 2: 5}, "dcgan": {1: 2, 2: 3}},
    seldom={1: 1, 2: 3},
    images={"mlp": 50_000, "conv": 12_800, "gan": 50_000, "dcgan": 12_800},
    starts=5,
    turns=20,
)
QUICK = Plan(
    rounds={net: {1: 1, 2: 1} for net in ("mlp", "conv", "gan", "dcgan")},
    seldom={1: 0, 2: 1},
    images={"mlp": 50_000, "conv": 6_400, "gan": 25_600, "dcgan": 6_400},
    starts=1,
    turns=5,
)


def main() -> None:
    """Measure everything there is a target for."""
    parser = argparse.ArgumentParser(prog="make bench", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="some minutes, for a first look")
    plan = QUICK if parser.parse_args().quick else FULL
    # Tables are cut to the terminal's width; narrower than this they lose their figures.
    console, begun = Console(width=max(Console().width, 140)), time.monotonic()
    SCRATCH.mkdir(exist_ok=True)
    root, data = find_root(SCRATCH)
    console.print(f"{describe()}\ndata: {data}")
    patience = Patience()
    samples = list(_fits(plan, root, _pythae(console), patience, console))
    startup = measure_startup(_work("mlp", plan, root), plan.starts, SCRATCH, console.print)
    evaluations = [
        measure_evaluation(threads, plan.turns, SCRATCH)
        for threads in (1, 2)
        if _may_run(threads, patience, console)
    ]

    found = report.rows(samples)
    report.print_fits(found, console)
    report.print_others(startup, evaluations, console)
    report.say_busy(samples, console)
    results = {
        "machine": describe(),
        "data": data,
        "when": time.strftime("%Y-%m-%d %H:%M:%S"),
        "rows": [asdict(row) | {"met": row.met} for row in found],
        "startup": asdict(startup),
        "evaluation": [asdict(e) for e in evaluations],
        "samples": [asdict(sample) for sample in samples],
    }
    path = SCRATCH / "results.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    console.print(f"{path.relative_to(ROOT)} written in {time.monotonic() - begun:.0f} s")


def _work(net: str, plan: Plan, root: str) -> Work:
    return Work(net, 1, plan.images[net], plan.images[net] // 5, root)


def _pythae(console: Console) -> Path | None:
    python = pythae_python(SCRATCH)
    if isinstance(python, Path):
        return python
    console.print(f"pythae could not be installed, and is left out: {python}")
    return None


def _may_run(threads: int, patience: Patience, console: Console) -> bool:
    """Wait for a quiet machine; on a busy one, threads that wait for each other only crawl."""
    if patience.quiet() or threads < (os.cpu_count() or 1):
        return True
    console.print(f"the machine is BUSY: what needs {threads} threads is left out here")
    return False


def _fits(
    plan: Plan, root: str, pythae: Path | None, patience: Patience, console: Console
) -> Iterator[Sample]:
    """Run the programs in turn; a round is one of each, for one net and number of threads."""
    for net, rounds in plan.rounds.items():
        work = _work(net, plan, root)
        for number in range(max(rounds.values())):
            for threads in (threads for threads in rounds if number < rounds[threads]):
                for program in programs(work, pythae):
                    wanted = not program.seldom or number < plan.seldom[threads]
                    if wanted and _may_run(threads, patience, console):
                        key = Key(net, threads, program.name)
                        yield from _measured(key, number, work, program, console)


def _measured(
    key: Key, number: int, work: Work, program: Program, console: Console
) -> Iterator[Sample]:
    try:
        marks = run(program.command, key.threads, SCRATCH)
    except ProgramFailed as error:
        console.print(f"{key.program} FAILED on {key.net}:\n{error}", markup=False)
        return
    for sample in Sample.from_marks(key, number, work.train + work.val, program, marks):
        rate = speed(sample)
        console.print(
            f"{key.net} {key.threads} thread(s){', cores apart' if sample.key.apart else ''}, "
            f"round {number + 1}, {key.program}: "
            + (f"{rate:,.0f} images/s" if rate else "too few blocks")
            + f", {len(clean(sample.blocks))} of {len(sample.blocks)} blocks clean"
        )
        yield sample


if __name__ == "__main__":
    main()
