"""Short messages for signals and errors that end a training, and silenced warnings."""

import errno
import logging
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from traceback import walk_tb

from lightning import Callback, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.optim.lr_scheduler import LRScheduler

from vae_lab.errors import LabError
from vae_lab.outputs import unwritable
from vae_lab.run_folder import first_process

__all__ = ["EndingLoop", "disk", "quiet_board", "quieten", "sentences", "stopping"]

QUIET = (
    "Checkpoint directory .* exists and is not empty",  # that of a resumed run
    ".*smaller than the logging interval",  # an epoch's end logs an incomplete interval
    "The dirpath has changed",  # a model is evaluated outside its training's folder
    "Total length of .* is zero",  # a run without validation images is refused
    ".*treespec",  # between Lightning and torch
    ".*in eval mode at the start",  # a frozen encoder
    ".*could not find the monitored key",  # until the first validation; from then on an error
)
ASKED = ("lightning.pytorch.profilers", "lightning.pytorch.tuner")  # silent unless used


def quieten() -> None:
    """Silence the warnings in `QUIET`, and Lightning's info except of tools in `ASKED`."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ASKED:
        logging.getLogger(name).setLevel(logging.INFO)
    for message in QUIET:
        warnings.filterwarnings("ignore", message)


@contextmanager
def stopping(folder: Path) -> Iterator[None]:
    """Print how to resume after Ctrl-C or SIGTERM, and exit with status 130 or 143.

    A broken pipe is raised again, as `vae_lab.cli` sets its status.
    """
    try:
        with _terminable():
            yield
    # Lightning turns both signals into SystemExit, unless they come before it is called.
    except (SystemExit, KeyboardInterrupt, BrokenPipeError) as stop:
        if first_process():
            goes_on = f"; the same command with --ckpt_path {folder} goes on"
            kept = (folder / "checkpoints" / "last.ckpt").exists()
            said = goes_on if kept else " before the first checkpoint, nothing is kept"
            print(f"lab fit: stopped{said}.", file=sys.stderr)
        if isinstance(stop, BrokenPipeError):
            raise
        sys.exit(143 if isinstance(stop, SIGTERMException) else 130)


@contextmanager
def _terminable() -> Iterator[None]:
    """Handle SIGTERM like Lightning, which does so only after its set-up; see also `Last`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(*_: object) -> None:
    raise SIGTERMException


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """Turn OSErrors, such as a logger's, into a LabError that names the file."""
    try:
        yield
    except OSError as error:
        if not error.filename and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise  # not of a file, but of a connection or a pipe
        if not error.filename and (printed := unwritable(error)):
            raise printed from error
        where = os.fsdecode(error.filename or folder)
        raise LabError(f"{where} could not be used: {error.strerror}.") from error


@contextmanager
def quiet_board() -> Iterator[None]:
    """Silence errors of TensorBoard's thread, which the main thread raises as well."""
    before = threading.excepthook

    def hook(died: threading.ExceptHookArgs) -> None:
        if not type(died.thread).__module__.startswith("tensorboard."):
            before(died)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


@contextmanager
def sentences() -> Iterator[None]:
    """Turn refusals by Lightning or torch, such as of a wrong setting, into a LabError."""
    try:
        yield
    except MisconfigurationException as error:
        raise LabError(shorten(str(error).partition(" HINT")[0], 300)) from error
    except Exception as error:
        if refusal := _unmeasured(error) or _unscheduled(error) or _uncalled(error):
            raise refusal from error
        raise


def _unmeasured(error: Exception) -> LabError | None:
    """Return the error of an EarlyStopping without its metric, if this is one."""
    if found := re.match(r"Early stopping .* metric `(.+?)` .* following: (.+)", str(error)):
        return LabError(f"There is no {found[1]} to monitor; there is {found[2].replace('`', '')}.")
    return None


def _unscheduled(error: Exception) -> LabError | None:
    """Return the error of a torch schedule with wrong settings, if this is one."""
    *_, (frame, _) = walk_tb(error.__traceback__)
    refused = frame.f_locals.get("self")
    # In a user's own schedule it is a bug, and keeps its traceback.
    if isinstance(refused, LRScheduler) and type(refused).__module__.startswith("torch."):
        reason = str(error).rstrip(".") or type(error).__name__
        return LabError(f"{type(refused).__name__} is no --model.schedule as it stands: {reason}.")
    return None


def _uncalled(error: Exception) -> LabError | None:
    """Return the error of a Lightning callback that lacks a package or a part of the model."""
    if not isinstance(error, AttributeError | ModuleNotFoundError):
        return None
    # If a model lacks a part, torch raises one call further down.
    for frame, _ in [*walk_tb(error.__traceback__)][-2:]:
        name = type(part := frame.f_locals.get("self")).__name__
        if isinstance(part, Callback) and type(part).__module__.startswith("lightning."):
            reason = str(error).partition(" HINT")[0].rstrip(".")
            return LabError(f"{name} cannot be used: {reason}.")
    return None


class EndingLoop(_FitLoop):
    """Lightning's fit loop, but calling the last hooks even if nothing is left to train.

    Lightning skips them, and so the last pictures and the record of a run that was stopped while
    they were made.
    """

    stopped: bool
    finished: bool

    @classmethod
    def replace(cls, trainer: Trainer, stopped: bool, finished: bool) -> None:
        """Replace a trainer's loop by this one, as Lightning's Trainer does not accept one.

        Args:
            trainer: The trainer.
            stopped: Whether something, such as EarlyStopping, had already stopped the run.
            finished: Whether the run had already called its last hooks.
        """
        loop = trainer.fit_loop
        loop.__class__ = cls
        assert isinstance(loop, cls)
        loop.stopped, loop.finished = stopped, finished

    def run(self) -> None:
        """Train what is left, and call the last hooks."""
        self.trainer.should_stop |= self.stopped
        self.setup_data()
        if self.finished or not self.skip:
            super().run()
            return
        # A checkpoint is written before its epoch is counted, also within an epoch.
        self.epoch_progress.current.completed = self.epoch_progress.current.ready
        self.on_run_start()
        self.on_run_end()
