"""The trainings of a sweep: workers that empty its queue."""

import math
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_lab.errors import LabError
from vae_lab.runs import Run
from vae_lab.verbs.study import sampler
from vae_lab.verbs.sweep_file import Sweep

if TYPE_CHECKING:
    from optuna import Study, Trial

__all__ = ["Trials"]

POLL = 1.0
"""Seconds between two looks at a trial's curve."""


class Trials:
    """The trials of a sweep, run by several workers.

    A trial waits in the study until a worker takes it, so that any process may go on with what
    another one left.

    Args:
        sweep: What the sweep's file says.
        study: Where its trials are kept.
        folder: Where its runs go.
    """

    def __init__(self, sweep: Sweep, study: "Study", folder: Path) -> None:
        self.sweep, self.study, self.folder = sweep, study, folder
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def run(self, workers: int, ended: Callable[[int], object] = lambda number: None) -> None:
        """Run what is queued, so many trials at a time.

        Args:
            workers: How many.
            ended: Called with the number of each trial that has ended.

        Raises:
            LabError: If a trial ends well and does not write the metric.
        """
        with _stoppable(), ThreadPoolExecutor(workers) as pool:
            try:
                for future in as_completed(
                    [pool.submit(self._work, ended) for _ in range(workers)]
                ):
                    future.result()
            except BaseException:
                self._stop()
                raise

    def path(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.folder / f"trial_{number}" / "version_0"

    def log(self, number: int) -> Path:
        """Return the file that has what a trial printed."""
        return self.folder / f"trial_{number}.log"

    def _work(self, ended: Callable[[int], object]) -> None:
        while (trial := self._next()) is not None:
            self._train(trial)
            if not self._stopped.is_set():
                ended(trial.number)

    def _next(self) -> "Trial | None":
        from optuna.trial import TrialState

        with self._lock:
            states = [trial.state for trial in self.study.get_trials(deepcopy=False)]
            if self._stopped.is_set() or TrialState.WAITING not in states:
                return None
            begun = sum(state != TrialState.WAITING for state in states)
            self.study.sampler = sampler(self.sweep.method, begun)
            trial = self.study.ask(self.sweep.space)
            trial.set_user_attr("host", socket.gethostname())
            trial.set_user_attr("parent", os.getpid())
            return trial

    def _train(self, trial: "Trial") -> None:
        """Run one trial to its end, whatever that is."""
        from optuna.trial import TrialState

        pruned, seen = False, 0
        with self._process(trial) as process:
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(POLL)
                seen = self._report(trial, seen)
                if not pruned and trial.should_prune():
                    pruned = True
                    process.terminate()
        if self._stopped.is_set():
            return  # still running by the study's account, so that it is run again
        if pruned:
            self.study.tell(trial, state=TrialState.PRUNED)
        elif process.returncode:
            self._fail(trial, _last_line(self.log(trial.number)) or f"status {process.returncode}")
        else:
            self._finish(trial)

    @contextmanager
    def _process(self, trial: "Trial") -> Iterator["subprocess.Popen[bytes]"]:
        """Start the trial's command, in a session of its own: Ctrl-C is ours to hand on."""
        if (folder := self.path(trial.number).parent).exists():
            raise LabError(f"{folder} is of another sweep: move it away, or rename this one.")
        place = ["--wandb=null", f"--runs={self.folder}", f"--name=trial_{trial.number}"]
        words = [*self.sweep.words(trial.params), *place]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        # Two pools of threads that spin on the same cores are many times slower than one each.
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "PATH": path}
        with self._lock:
            process = _start(words, environment, self.log(trial.number))
            self._running[trial.number] = process
            if self._stopped.is_set():
                process.terminate()
        trial.set_user_attr("pid", process.pid)
        try:
            yield process
        finally:
            process.wait()
            with self._lock:
                del self._running[trial.number]

    def _curves(self, number: int) -> dict[str, list[tuple[float, float]]]:
        return Run(self.path(number)).curves()

    def _report(self, trial: "Trial", seen: int) -> int:
        """Tell the study of validations after the first `seen`, and return how many there are."""
        with suppress(LabError):  # the file is being written
            for _, value in self._curves(trial.number).get(self.sweep.metric, [])[seen:]:
                seen += 1
                trial.report(value, seen)
        return seen

    def _finish(self, trial: "Trial") -> None:
        curves = self._curves(trial.number)
        if self.sweep.metric not in curves:
            self._stop()
            keys = sorted(k for k in curves if k.startswith("val/"))
            near = get_close_matches(self.sweep.metric, keys, 1) or keys
            raise LabError(
                f"A trial has ended and wrote no {self.sweep.metric!r}; "
                f"there is {', '.join(near) or 'none'}. Mend the metric of {self.sweep.path}."
            )
        values = [v for _, v in curves[self.sweep.metric] if math.isfinite(v)]
        if values:
            self.study.tell(trial, (min if self.sweep.goal == "minimize" else max)(values))
        else:
            self._fail(trial, f"{self.sweep.metric} was never a finite number")

    def _fail(self, trial: "Trial", reason: str) -> None:
        from optuna.trial import TrialState

        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def _stop(self) -> None:
        self._stopped.set()
        with self._lock:
            for process in self._running.values():
                process.terminate()


def _start(words: list[str], environment: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    try:
        with log.open("wb") as out:
            return subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
    except OSError as error:
        raise LabError(f"{words[0]} cannot be run: {error}.") from error


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""


@contextmanager
def _stoppable() -> Iterator[None]:
    """Make SIGTERM and a closed terminal end a sweep as Ctrl-C does."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    # What nohup has had ignored stays so.
    ends = [s for s in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN]
    before = {s: signal.signal(s, interrupt) for s in ends}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
