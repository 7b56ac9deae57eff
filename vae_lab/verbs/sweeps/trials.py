"""The trainings of a sweep: workers that process its queue."""

import math
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from vae_lab.errors import LabError
from vae_lab.runs import Run
from vae_lab.verbs.sweeps.file import Sweep
from vae_lab.verbs.sweeps.storage import Turns, keeping, open_storage
from vae_lab.verbs.sweeps.study import fill, open_study, sampler, sign
from vae_lab.verbs.workers import Workers, last_words

if TYPE_CHECKING:
    from optuna import Trial

__all__ = ["Trials"]

POLL = 1.0
"""Seconds between two looks at a trial's curve."""

ENDS = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
"""Signals by which others end a training, or the system where memory runs out."""

BEAT = 60.0
"""Seconds between two signs of life, for machines that cannot see the process."""


class Trials:
    """The trials of a sweep, run by several workers.

    A trial waits in the study until a worker takes it, so that any process can continue what
    another one left.

    Args:
        sweep: The sweep file.
        storage: Storage of the trials, see `open_study`.
        folder: Folder of the runs.

    Raises:
        LabError: If the storage cannot be opened, or holds the trials of another sweep.
    """

    def __init__(self, sweep: Sweep, storage: str, folder: Path) -> None:
        self.sweep, self.storage, self.folder = sweep, storage, folder
        self.study = open_study(sweep, storage)
        self._turns = Turns(open_storage(storage), sweep.name)
        self._lock = threading.Lock()
        self._workers = Workers()

    def fill(self, wanted: int | None) -> None:
        """Queue missing trials, see `vae_lab.verbs.sweeps.study.fill`."""
        with keeping(self.storage), self._turns.turn():
            fill(self.study, self.sweep, wanted, self.folder)

    def run(self, workers: int, ended: Callable[[int], object] = lambda number: None) -> None:
        """Run the queued trials.

        Args:
            workers: Number of trials at a time.
            ended: Called with the number of each trial that has ended.

        Raises:
            LabError: If a successful trial does not log the metric, or the storage fails.
        """
        self._workers.run(workers, lambda: self._work(ended))

    def path(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.folder / f"trial_{number}" / "version_0"

    @property
    def logs(self) -> Path:
        """The folder of the trials' output."""
        return self.folder / "logs"

    def log(self, number: int) -> Path:
        """Return the file of a trial's output."""
        return self.logs / f"trial_{number}.log"

    def _work(self, ended: Callable[[int], object]) -> None:
        from optuna.exceptions import UpdateFinishedTrialError

        while True:
            with keeping(self.storage):
                if (trial := self._next()) is None:
                    return
                with suppress(UpdateFinishedTrialError):  # another process took it for dead
                    self._train(trial)
            if not self._workers.stopped:
                ended(trial.number)

    def _next(self) -> "Trial | None":
        from optuna.trial import TrialState

        # Two processes that ask at once would draw the same point, or find an empty queue.
        with self._lock, self._turns.turn():
            states = [trial.state for trial in self.study.get_trials(deepcopy=False)]
            if self._workers.stopped or TrialState.WAITING not in states:
                return None
            begun = sum(state != TrialState.WAITING for state in states)
            self.study.sampler = sampler(self.sweep.method, begun)
            trial = self.study.ask(self.sweep.space)
            sign(trial)
            return trial

    def _train(self, trial: "Trial") -> None:
        """Run one trial to its end."""
        from optuna.trial import TrialState

        pruned, seen, signed = False, 0, time.monotonic()
        with self._process(trial) as process:
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(POLL)
                seen, hopeless = self._report(trial, seen)
                if time.monotonic() - signed > BEAT:
                    sign(trial)
                    signed = time.monotonic()
                if hopeless and not pruned:
                    pruned = True
                    process.terminate()
        if self._workers.stopped:
            trial.set_user_attr("left", True)
            return  # still running in the study, so that it is run again
        # A hopeless trial may have ended before it could be stopped.
        if process.returncode == 0:
            self._finish(trial)
        elif pruned:
            self.study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            status = process.returncode
            self._fail(trial, last_words(status, self.log(trial.number)), status)

    @contextmanager
    def _process(self, trial: "Trial") -> Iterator["subprocess.Popen[bytes]"]:
        if (folder := self.path(trial.number).parent).exists():
            raise LabError(f"{folder} is of another sweep: move it away, or rename this one.")
        place = ["--wandb=null", f"--runs={self.folder}", f"--name=trial_{trial.number}"]
        words = [*self.sweep.words(trial.params), *place]
        with self._workers.process(words, self.log(trial.number)) as process:
            trial.set_user_attr("pid", process.pid)
            yield process

    def _curves(self, number: int) -> dict[str, list[tuple[float, float]]]:
        return Run(self.path(number)).curves()

    def _report(self, trial: "Trial", seen: int) -> tuple[int, bool]:
        """Report validations after the first `seen` to the study.

        Returns:
            The number of validations, and whether the trial is hopeless.
        """
        hopeless = False
        with suppress(LabError):  # the file is being written
            for _, value in self._curves(trial.number).get(self.sweep.metric, [])[seen:]:
                seen += 1
                trial.report(value, seen)
                # Asked after each, as a rung takes the value reported last.
                hopeless = hopeless or trial.should_prune()
        return seen, hopeless

    def _finish(self, trial: "Trial") -> None:
        curves = self._curves(trial.number)
        if self.sweep.metric not in curves:
            self._workers.stop()
            keys = sorted(k for k in curves if k.startswith("val/"))
            near = get_close_matches(self.sweep.metric, keys, 1) or keys
            raise LabError(
                f"A trial has ended and wrote no {self.sweep.metric!r}; "
                f"there is {', '.join(near) or 'none'}. Mend the metric of {self.sweep.path}."
            )
        values = [v for _, v in curves[self.sweep.metric] if math.isfinite(v)]
        if values:
            best = (min if self.sweep.goal == "minimize" else max)(values)
            self.study.tell(trial, best, skip_if_finished=True)
        else:
            self._fail(trial, f"{self.sweep.metric} was never a finite number")

    def _fail(self, trial: "Trial", reason: str, status: int = 0) -> None:
        """Record why a trial failed, and whether others ended its training, by its status."""
        from optuna.trial import TrialState

        if _ended_by_others(status):
            trial.set_user_attr("killed", True)
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


def _ended_by_others(status: int) -> bool:
    """Return whether a training was ended by a signal that no worker of a sweep has sent."""
    # A shell, and `lab fit` as well, report a signal by a status above 128.
    return bool({-status, status - 128} & ENDS)
