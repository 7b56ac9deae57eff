"""`lab sweep`: train a W&B sweep file without W&B, on this machine or on a cluster."""

import sys
from importlib.util import find_spec
from typing import Literal

from vae_lab.errors import LabError
from vae_lab.files import expanded
from vae_lab.verbs.options import at_least
from vae_lab.verbs.sweeps.file import read
from vae_lab.verbs.sweeps.launcher import submit, wait
from vae_lab.verbs.sweeps.report import shown, summarise
from vae_lab.verbs.sweeps.trials import Trials

__all__ = ["sweep"]


def sweep(
    file: str,
    trials: int | None = None,
    workers: int = 1,
    storage: str | None = None,
    runs: str = "runs",
    launcher: Literal["slurm", "local"] | None = None,
) -> None:
    """Train the trials of a W&B sweep file, several at a time, without W&B.

    A trial's score is the best value of its metric's curve. Runs go to `runs/<sweep>/trial_<n>`,
    their output to `logs` beside them, and plots of all trials to `sweep.html`. The same command
    resumes an interrupted sweep.

    Args:
        file: The file, in the format of `wandb sweep`.
        trials: Total number of trials, including earlier ones; by default all of a grid, else the
            file's `run_cap`.
        workers: Number of trials to train at once, one thread each.
        storage: Storage of the trials: a file, by default `sweep.journal` among the runs, or the
            URL of an SQL database.
        runs: Folder of all runs.
        launcher: Where workers run: by default in this process; with `slurm` each is a job, and
            `local` tries such jobs on this machine.

    Raises:
        LabError: If the file is not a sweep, a package is missing, a trial fails, no trial logs the
            metric, or there is no cluster.
    """
    wanted = read(file)
    trials = wanted.run_cap if trials is None else trials
    at_least(1, workers=workers, trials=trials)
    if not all(map(find_spec, ("optuna", "plotly"))):
        raise LabError("a sweep without W&B needs Optuna: `pip install -e '.[sweep]'`.")
    _ = wanted.words({}), wanted.space
    folder = expanded(runs) / wanted.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"{folder} could not be made: {error.strerror}.") from error
    storage = storage or str(folder / "sweep.journal")
    queue = Trials(wanted, storage, folder)
    queue.fill(trials)
    if launcher:
        words = [file, f"--storage={storage}", f"--runs={folder.parent}"]
        _launch(launcher, queue, [*words, f"--trials={trials or 'null'}"], workers)
    else:
        _run(queue, workers)
    summarise(queue)


def _run(queue: Trials, workers: int) -> None:
    try:
        with shown(queue.study) as ended:
            queue.run(workers, ended)
    except (KeyboardInterrupt, BrokenPipeError):
        print("lab sweep: stopped; the same command goes on.", file=sys.stderr)
        raise


def _launch(cluster: str, queue: Trials, words: list[str], workers: int) -> None:
    # A job runs the command that a user would type on its machine.
    command = [sys.executable, "-m", "vae_lab", "sweep", *words]
    jobs = submit(cluster, queue.sweep.name, command, workers, queue.folder / "jobs")
    names = " ".join(job.job_id for job in jobs)
    try:
        print(f"jobs      {names}: {queue.folder / 'jobs'}", flush=True)
        with shown(queue.study) as ended:
            wait(jobs, queue.study, ended)
    except (KeyboardInterrupt, BrokenPipeError):
        print(f"lab sweep: jobs go on until they are cancelled: {names}.", file=sys.stderr)
        raise
