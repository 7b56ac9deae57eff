"""Workers of a sweep as cluster jobs, which share one queue of trials."""

import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_lab.errors import LabError

if TYPE_CHECKING:
    from optuna import Study

__all__ = ["submit", "wait"]

POLL = 5.0
"""Seconds between two looks at the jobs."""

DAY = 24 * 60
"""Minutes that a job may take; `SBATCH_TIMELIMIT` says otherwise."""


def submit(cluster: str, name: str, words: Sequence[str], count: int, folder: Path) -> list[Any]:
    """Submit a command `count` times, as jobs of one processor each, and return them.

    Other settings of the cluster are read by `sbatch` from its own variables: `SBATCH_PARTITION`,
    `SBATCH_ACCOUNT`, `SBATCH_GPUS`, ...

    Args:
        cluster: `slurm`, or `local` for processes of this machine.
        name: Name of the jobs.
        words: The command.
        count: Number of jobs.
        folder: Folder of the jobs' own files, visible to all machines.

    Raises:
        LabError: If submitit is missing, there is no such cluster, or it refuses the jobs.
    """
    if not find_spec("submitit"):
        raise LabError("--launcher needs submitit: `pip install -e '.[sweep]'`.")
    from submitit import AutoExecutor
    from submitit.core.utils import FailedJobError
    from submitit.helpers import CommandFunction

    try:
        executor = AutoExecutor(folder, cluster=cluster)
        executor.update_parameters(name=name, timeout_min=DAY, cpus_per_task=1)
        with executor.batch():
            return [executor.submit(CommandFunction([*words])) for _ in range(count)]
    except (RuntimeError, OSError, FailedJobError) as error:
        reason = " ".join(str(error).split())[:200]
        raise LabError(f"{cluster} takes no jobs from this machine: {reason}") from error


def wait(jobs: Sequence[Any], study: "Study", ended: Callable[[int], object]) -> None:
    """Wait for all jobs, print each trial that ends, and then the jobs that failed."""
    told = {trial.number for trial in study.trials if trial.state.is_finished()}
    going = True
    while going:
        going = not all(job.done() for job in jobs)
        for trial in study.trials:
            if trial.state.is_finished() and trial.number not in told:
                told.add(trial.number)
                ended(trial.number)
        if going:
            time.sleep(POLL)
    for job in jobs:
        if job.exception() is not None:
            print(f"failed    worker {job.job_id}: {job.paths.stderr}")
