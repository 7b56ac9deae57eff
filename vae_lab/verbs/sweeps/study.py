"""The study of a sweep: a persistent queue of trials."""

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
    """Open the study of a sweep, or create it.

    Args:
        sweep: The sweep file.
        storage: A journal file in a folder that exists, or the URL of an SQL database.

    Raises:
        LabError: If it cannot be opened, or holds the trials of another sweep.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    parts = ("method", "metric", "goal", "command", "parameters", "configs")
    defined = {part: getattr(sweep, part) for part in parts}
    defined = json.loads(json.dumps(defined, default=str))  # in the form that is read back
    with keeping(storage):
        study = optuna.create_study(
            storage=open_storage(storage),
            pruner=_pruner(sweep),
            study_name=sweep.name,
            direction=cast(Literal["minimize", "maximize"], sweep.goal),
            load_if_exists=True,
        )
        # Older studies do not have digests, nor all parts.
        if defined | study.user_attrs.get("sweep", {}) != defined:
            raise LabError(
                f"{storage} holds trials of another {sweep.path}: move it or rename this."
            )
        study.set_user_attr("sweep", defined)
    return study


def _pruner(sweep: Sweep) -> "BasePruner":
    """Return W&B's hyperband, which is asynchronous successive halving.

    Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020, algorithm 2.
    """
    from optuna.pruners import NopPruner, SuccessiveHalvingPruner

    if sweep.min_iter is None:
        return NopPruner()
    return SuccessiveHalvingPruner(sweep.min_iter, sweep.eta)


def fill(study: "Study", sweep: Sweep, wanted: int | None, folder: Path) -> None:
    """Queue missing trials, and those of dead processes again.

    Args:
        study: The study.
        sweep: The sweep file.
        wanted: Total number of trials; None for all of a grid.
        folder: Folder of the runs.

    Raises:
        LabError: If the number is unknown, or the file's parameters are invalid.
    """
    grid = sweep.method == "grid"
    points = sweep.points[:wanted] if grid else []
    if not grid and wanted is None:
        raise LabError(f"{sweep.path} says nothing of how many trials; add --trials or a run_cap.")
    again = _requeue(study, folder)
    # Optuna's own search for a point would read all trials again for each.
    known = [trial.system_attrs.get("fixed_params", trial.params) for trial in study.trials]
    for point in points:
        if point not in known:
            study.enqueue_trial(point)
    for _ in range(len(study.trials) - again, 0 if grid else wanted or 0):
        study.enqueue_trial({})


def sampler(method: str, begun: int) -> "BaseSampler":
    """Return the sampler of the next trial, seeded by the number of trials."""
    from optuna.samplers import RandomSampler, TPESampler

    if method == "bayes":
        # Running trials keep new ones away from their points.
        return TPESampler(seed=begun, constant_liar=True)
    return RandomSampler(seed=begun)


def _requeue(study: "Study", folder: Path) -> int:
    """Queue killed trials again, and return how many trials replace others."""
    from optuna.trial import TrialState

    trials = study.trials
    repeated = {t.user_attrs["repeats"] for t in trials if "repeats" in t.user_attrs}
    for trial in trials:
        lost = trial.state == TrialState.RUNNING and not _alive(trial)
        if lost:
            _end(trial, folder)
        if (lost or "killed" in trial.user_attrs) and trial.number not in repeated:
            # A kill may have come before all parameters were drawn.
            point = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            study.enqueue_trial(point, {"repeats": trial.number})
            repeated.add(trial.number)
        if lost:
            study.tell(trial.number, state=TrialState.FAIL)
    return len(repeated)


def sign(trial: "Trial") -> None:
    """Record which process runs a trial, and when it was last alive."""
    trial.set_user_attr("host", socket.gethostname())
    trial.set_user_attr("parent", os.getpid())
    trial.set_user_attr("seen", time.time())


def _alive(trial: "FrozenTrial") -> bool:
    """Return whether a trial's process is alive, by its signs of life and its number."""
    given = trial.user_attrs
    if given.get("left") or time.time() - float(given.get("seen", 0)) > SILENCE:
        return False
    host, parent = str(given.get("host")), int(given.get("parent", os.getpid()))
    # Containers give their processes the same numbers each time.
    repeated = host == socket.gethostname() and parent == os.getpid()
    return not (repeated or gone(host, parent))


def _end(trial: "FrozenTrial", folder: Path) -> None:
    """End a training whose sweep was killed, if it still runs."""
    pid = int(trial.user_attrs.get("pid", 0))
    with suppress(OSError):
        # The number may belong to another process by now.
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        if {f"--runs={folder}", f"--name=trial_{trial.number}"} <= {*words}:
            os.kill(pid, signal.SIGTERM)
