"""The study of a sweep: a queue of trials that outlives the process."""

import json
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from vae_lab.errors import LabError
from vae_lab.verbs.sweeps.file import Sweep
from vae_lab.verbs.sweeps.storage import gone, keeping, open_storage

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, Trial

__all__ = ["fill", "open_study", "sampler", "sign"]

SILENCE = 600.0
"""Seconds after which a trial that gave no sign of life is taken for dead."""


def open_study(sweep: Sweep, storage: str) -> "Study":
    """Open the study of a sweep, or make it.

    Args:
        sweep: What its file says.
        storage: A journal file in a folder that exists, or the URL of an SQL database.

    Raises:
        LabError: If it cannot be opened, or holds the trials of another sweep.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    parts = ("method", "metric", "goal", "command", "parameters", "configs")
    defined = {part: getattr(sweep, part) for part in parts}
    defined = json.loads(json.dumps(defined, default=str))  # as it is read back
    with keeping(storage):
        study = optuna.create_study(
            storage=open_storage(storage),
            pruner=_pruner(sweep),
            study_name=sweep.name,
            direction=cast(Literal["minimize", "maximize"], sweep.goal),
            load_if_exists=True,
        )
        # A study of before digests were kept does not know all parts.
        if defined | study.user_attrs.get("sweep", {}) != defined:
            raise LabError(
                f"{storage} holds trials of another {sweep.path}: move it or rename this."
            )
        study.set_user_attr("sweep", defined)
    return study


def _pruner(sweep: Sweep) -> "BasePruner":
    """Return what W&B's hyperband is: successive halving that waits for no trial.

    Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020, algorithm 2.
    """
    from optuna.pruners import NopPruner, SuccessiveHalvingPruner

    if sweep.min_iter is None:
        return NopPruner()
    return SuccessiveHalvingPruner(sweep.min_iter, sweep.eta)


def fill(study: "Study", sweep: Sweep, wanted: int | None, folder: Path) -> None:
    """Queue what is missing, and again what ran in a process that is no more.

    Args:
        study: Where trials are kept.
        sweep: What the sweep's file says.
        wanted: How many trials there are to be; None for all of a grid.
        folder: Where runs go.

    Raises:
        LabError: If that is not known, or the file's parameters do not make a space.
    """
    grid = sweep.method == "grid"
    points = sweep.points[:wanted] if grid else []
    if not grid and wanted is None:
        raise LabError(f"{sweep.path} says nothing of how many trials; add --trials or a run_cap.")
    again = _requeue(study, folder)
    # Optuna's own look for a point reads all trials again for each.
    known = [trial.system_attrs.get("fixed_params", trial.params) for trial in study.trials]
    for point in points:
        if point not in known:
            study.enqueue_trial(point)
    for _ in range(len(study.trials) - again, 0 if grid else wanted or 0):
        study.enqueue_trial({})


def sampler(method: str, begun: int) -> "BaseSampler":
    """Return a sampler of the next trial, whose seed is how many there were."""
    from optuna.samplers import RandomSampler, TPESampler

    if method == "bayes":
        # Trials that are still running keep others away from where they are.
        return TPESampler(seed=begun, constant_liar=True)
    return RandomSampler(seed=begun)


def _requeue(study: "Study", folder: Path) -> int:
    """Queue again what a dead process ran, and return how many trials stand for others."""
    from optuna.trial import TrialState

    trials = study.trials
    repeated = {t.user_attrs["repeats"] for t in trials if "repeats" in t.user_attrs}
    for trial in trials:
        if trial.state != TrialState.RUNNING or _alive(trial):
            continue
        _end(trial, folder)
        if trial.number not in repeated:
            # A kill may have come before every parameter was drawn.
            point = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            study.enqueue_trial(point, {"repeats": trial.number})
            repeated.add(trial.number)
        study.tell(trial.number, state=TrialState.FAIL)
    return len(repeated)


def sign(trial: "Trial") -> None:
    """Note who runs a trial, and that it still does."""
    trial.set_user_attr("host", socket.gethostname())
    trial.set_user_attr("parent", os.getpid())
    trial.set_user_attr("seen", time.time())


def _alive(trial: "FrozenTrial") -> bool:
    """Tell whether the process that began a trial lives, by its signs of life and its number."""
    given = trial.user_attrs
    if given.get("left") or time.time() - float(given.get("seen", 0)) > SILENCE:
        return False
    host, parent = str(given.get("host")), int(given.get("parent", os.getpid()))
    # A container gives its processes the same numbers each time.
    repeated = host == socket.gethostname() and parent == os.getpid()
    return not (repeated or gone(host, parent))


def _end(trial: "FrozenTrial", folder: Path) -> None:
    """End a training whose sweep was killed, if it is still there."""
    pid = int(trial.user_attrs.get("pid", 0))
    with suppress(OSError):
        # The number may be another process's by now.
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        if {f"--runs={folder}", f"--name=trial_{trial.number}"} <= {*words}:
            os.kill(pid, signal.SIGTERM)
