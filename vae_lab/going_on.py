"""Checks of a run that is resumed, and a lock against training it twice at once."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from vae_lab.errors import LabError
from vae_lab.locks import locked
from vae_lab.run_folder import first_process
from vae_lab.runs import Run

__all__ = ["check_same", "held"]

# Settings that determine what is learned and which weights are best. The place, the number of
# processes, the length of training and its output may change.
_KEPT = (
    *("seed_everything", "model", "data", "checkpoint.monitor", "checkpoint.mode"),
    *("trainer.precision", "trainer.gradient_clip_val", "trainer.gradient_clip_algorithm"),
    *("trainer.accumulate_grad_batches", "trainer.overfit_batches"),
    *("trainer.limit_train_batches", "trainer.limit_val_batches", "trainer.sync_batchnorm"),
    *("trainer.check_val_every_n_epoch", "trainer.val_check_interval"),
)
# The folder of the images does not change the results; the others are refused elsewhere, with an
# explanation.
_FREE = ("data.root", "model.lr", "model.pretrain_epochs")
# Temporary files of training; those of an evaluation may be in use.
_PARTS = (
    *("checkpoints/.*.part", "pictures/.*.part"),
    *(".config.yaml.*.part", ".metrics.csv.*.part", ".run.json.*.part"),
)


def check_same(folder: Path, config: Mapping[str, Any], listing: str | None = None) -> None:
    """Refuse to resume a run with other settings, which would mix two experiments.

    Settings that did not exist when the run began are not compared.

    Args:
        folder: The run.
        config: The settings that it is to go on with.
        listing: The digest of the image files' names and sizes, of data that know it.

    Raises:
        LabError: If model, data, seed or another setting that affects learning differs.
    """
    run = Run(folder)
    if (begun := run.record.get("listing")) and listing not in (None, begun):
        raise LabError(
            f"{folder} was begun with other image files, and some that it has learned from would "
            "validate it now: put those back, or let another run begin with its weights by "
            f"--weights {folder}."
        )
    for key, before, now in _differences(run.config, config):
        if key.startswith(_KEPT) and key not in _FREE:
            raise LabError(
                f"{folder} was begun with {key} {before}, not {now}: go on without that, or "
                f"let another run go on from its weights and epoch by --ckpt_path {folder} "
                "and a --name."
            )


def _differences(begun: object, now: object, key: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield the settings in both that differ, by their names on the command line."""
    if isinstance(begun, Mapping) and isinstance(now, Mapping):
        for name in (name for name in begun if name in now):
            inner = key if name in ("class_path", "init_args") else f"{key}.{name}".strip(".")
            yield from _differences(begun[name], now[name], inner)
    elif begun != now:
        yield key, begun, now


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock a run while this process trains it.

    Raises:
        LabError: If another process trains it.
    """
    if not first_process():
        yield
        return
    with locked(folder) as free:
        if not free:
            raise LabError(f"{folder} is being trained by another process: wait for it, or end it.")
        # Temporary files of a killed process.
        for part in chain.from_iterable(map(folder.glob, _PARTS)):
            part.unlink(missing_ok=True)
        yield
