"""The trainings and evaluations of `lab results`, in a queue that respects dependencies."""

import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from vae_lab.errors import LabError
from vae_lab.files import write_text
from vae_lab.locks import claimed
from vae_lab.runs import Run
from vae_lab.verbs import workers
from vae_lab.verbs.results.shelf import Shelf

__all__ = ["Job", "Queue", "failure", "wanted"]


class Job(NamedTuple):
    """One row, trained with one seed."""

    name: str
    seed: int

    def __str__(self) -> str:
        return f"{self.name}, seed {self.seed}"


class _Failed(Exception):
    """A command of a job failed."""


def wanted(shelf: Shelf, names: Sequence[str], again: Collection[str] = ()) -> list[Job]:
    """Return the jobs that rows lack for their current settings.

    Args:
        shelf: Finds the runs.
        names: The rows, each after those that it needs.
        again: Rows whose runs must have their weights; a record is not enough.
    """
    jobs: list[Job] = []
    needed: set[str] = set()
    for name in reversed(names):
        seeds = shelf.index.rows[name].seeds
        # Other rows start from, or are judged by, the first seed's run.
        alive = {*(seeds if name in again else seeds[: name in needed])}
        missing = [seed for seed in seeds if not _done(shelf, Job(name, seed), seed in alive)]
        jobs[:0] = [Job(name, seed) for seed in missing]
        needed.update(shelf.index.needed(name) if missing else ())
    return jobs


def failure(shelf: Shelf, job: Job) -> str:
    """Return why a job with its row's current settings failed last time; empty if not."""
    with suppress(OSError, UnicodeDecodeError):
        known, _, reason = _note(shelf.root, job).read_text(encoding="utf-8").partition(" ")
        return reason.strip() if known == shelf.fingerprint(job.name) else ""
    return ""


class Queue:
    """Jobs, each done after those that its row needs.

    Args:
        shelf: Finds the runs.
        jobs: The jobs.

    Attributes:
        failed: The jobs that failed.
    """

    def __init__(self, shelf: Shelf, jobs: Sequence[Job]) -> None:
        self.shelf, self.index, self.root = shelf, shelf.index, shelf.root
        self._waiting, self._running = list(jobs), list[Job]()
        self.failed: list[Job] = []
        self._workers, self._changed = workers.Workers(), threading.Condition()

    def run(self, count: int) -> None:
        """Train and evaluate several jobs at a time; failures are recorded, and the rest goes on.

        Raises:
            LabError: If the folder is not writable, or earlier trainings still run there.
        """
        if not self._waiting:
            return
        _say(f"{len(self._waiting)} trainings or evaluations are missing")
        with _locked(self.root) as self._lock:
            self._workers.run(count, self._work)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            _note(self.root, job).unlink(missing_ok=True)
            try:
                self._do(job)
            except (_Failed, LabError) as error:
                if not self._workers.stopped:
                    self._fail(job, str(error))
            finally:
                with self._changed:
                    self._running.remove(job)
                    self._changed.notify_all()

    def _next(self) -> Job | None:
        """Return a job whose needs are met, after waiting for one if necessary."""
        with self._changed:
            while self._waiting and not self._workers.stopped:
                busy = {job.name for job in (*self._waiting, *self._running)}
                ready = (j for j in self._waiting if not busy & {*self.index.needed(j.name)})
                if job := next(ready, None):
                    self._waiting.remove(job)
                    self._running.append(job)
                    return job
                # Ctrl-C reaches the main thread only, which then stops the workers.
                self._changed.wait(1)
        return None

    def _do(self, job: Job) -> None:
        run = self.shelf.find(*job, weights=True)
        if run is None or not run.finished:
            _say(f"{job}: {'goes on' if run else 'trains'}")
            self._call(job, self._fit(job, run))
            run = self.shelf.find(*job, weights=True)
        if run is None:
            raise _Failed("the training left no run of the row's settings")
        if not self.shelf.evaluated(job.name, run):
            _say(f"{job}: is evaluated")
            self._call(job, ["evaluate", str(run.path), *self._evaluation(job.name)], append=True)
            run = Run(run.path)  # an earlier failure is outdated
        self._check(job.name, run)
        _say(f"{job}: done")

    def _fit(self, job: Job, run: Run | None) -> list[str]:
        """Return the command that trains, or resumes a run if there is one."""
        words = ["fit", *self.shelf.words(job.name), f"--seed_everything={job.seed}"]
        needs = self.index.rows[job.name].needs.items()
        words += [f"--{option}={self._run_of(row).path}" for option, row in needs]
        words.append("--trainer.devices=1")  # the batch size is per process
        if run is None or not (run.path / "checkpoints/last.ckpt").is_file():
            return [*words, f"--runs={self.root}", f"--name={job.name}"]
        folder = run.path.parent
        place = [f"--runs={folder.parent}", f"--name={folder.name}"]
        return [*words, *place, f"--ckpt_path={run.path}"]

    def _evaluation(self, name: str) -> list[str]:
        given = self.index.rows[name].evaluate
        judge = given.get("judge")
        if isinstance(judge, str) and judge in self.index.rows:
            given = given | {"judge": str(self._run_of(judge).path)}
        return [f"--{key}={value}" for key, value in given.items()]

    def _run_of(self, name: str) -> Run:
        if run := self.shelf.first(name):
            return run
        raise _Failed(f"it needs a run of {name}, and there is none")

    def _call(self, job: Job, words: list[str], append: bool = False) -> None:
        command, log = [*workers.LAB, *words], _log(self.root, job)
        kept = [self._lock]
        with self._workers.process(command, log, kept, append) as process:
            status = process.wait()
        self.shelf.look()
        if status:
            raise _Failed(workers.last_words(status, log))

    def _check(self, name: str, run: Run) -> None:
        for key in self.index.rows[name].metrics:
            if f"test/{key}" not in run.scores:
                near = get_close_matches(f"test/{key}", run.scores, 1)
                hint = f"; there is {near[0]}" if near else ""
                raise _Failed(f"lab evaluate measured no test/{key}{hint}")

    def _fail(self, job: Job, reason: str) -> None:
        self.failed.append(job)
        _say(f"{job}: FAILED, {reason}")
        write_text(_note(self.root, job), f"{self.shelf.fingerprint(job.name)} {reason}")


def _done(shelf: Shelf, job: Job, weights: bool) -> bool:
    run = shelf.find(*job, weights)
    return run is not None and run.finished and shelf.evaluated(job.name, run)


def _note(root: Path, job: Job) -> Path:
    return root / f"{job.name}_{job.seed}.failed"


def _log(root: Path, job: Job) -> Path:
    return root / f"{job.name}_{job.seed}.log"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _locked(root: Path) -> Iterator[int]:
    """Lock a folder of runs for this process and those that it starts, which may outlive it."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = (root / ".lock").open("wb")
    except OSError as error:
        raise LabError(f"{root} cannot hold runs: {error.strerror}.") from error
    with file:
        if not claimed(file.fileno()):
            raise LabError(
                f"another `lab results`, or what a killed one began, still trains in {root}: "
                "wait for it, or end it."
            )
        yield file.fileno()
