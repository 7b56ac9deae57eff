"""What a run must agree with to go on, and what keeps it from being trained twice at once."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vae_lab.errors import LabError
from vae_lab.run_folder import first_process
from vae_lab.runs import Run

__all__ = ["check_same", "held"]

# Where images lie and how many are measured at once change no number; the others are refused by
# whom they concern, with a word on why.
_FREE = ("data.root", "data.eval_batch_size", "model.lr", "model.pretrain_epochs")


def check_same(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse to go on with a run as another experiment, whose curves and best would be of two.

    Settings that the run knows nothing of, as they came later, are no difference.

    Raises:
        LabError: If its model, data or seed are others.
    """
    begun, now = (dict(_experiment(settings)) for settings in (Run(folder).config, config))
    for key in begun:
        if key in now and begun[key] != now[key] and key not in _FREE:
            raise LabError(
                f"{folder} was begun with {key} {begun[key]}, not {now[key]}: go on without that, "
                f"or begin another run from its weights by --ckpt_path {folder} and a --name."
            )


def _experiment(config: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for part in ("seed_everything", "model", "data"):
        yield from _flat(config.get(part), part)


def _flat(value: object, key: str) -> Iterator[tuple[str, object]]:
    if not isinstance(value, dict):
        yield key, value
        return
    for name, inner in value.items():
        yield from _flat(inner, key if name in ("class_path", "init_args") else f"{key}.{name}")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes from going on with a run while this one trains it.

    Raises:
        LabError: If one trains it already.
    """
    if not first_process() or sys.platform == "win32":  # which has no such locks
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise LabError(
            f"{folder} is being trained by another process: wait for it, or end it."
        ) from error
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(descriptor)
