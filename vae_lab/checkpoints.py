"""Checkpoints: from an untrusted file to a model or a data module."""

import os
import pickle
import zipfile
from argparse import ArgumentError
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, TypeVar, cast

from vae_lab.errors import LabError

if TYPE_CHECKING:
    from lightning import LightningDataModule, LightningModule

__all__ = ["anew", "as_noted", "epoch", "folder_of", "load", "load_data", "read", "settings_of"]

Part = TypeVar("Part", "LightningModule", "LightningDataModule")


def load(kind: type[Part], path: Path, **replaced: Any) -> Part:
    """Build the model or the data module of a checkpoint, on the CPU.

    The file is read with `weights_only=True`, so that no code in it is run, and its checksums are
    verified. The class that it names is imported, like one in a configuration.

    Args:
        kind: LightningModule for the model, LightningDataModule for the data.
        path: The checkpoint.
        **replaced: Arguments that replace the saved ones.

    Raises:
        LabError: If the file is unreadable, damaged, foreign or unsafe, or its class cannot be
            imported.
    """
    import torch

    settings = settings_of(kind, path)
    class_path = settings["_class_path"]
    try:
        # A model may need gradients while it is built, even if the caller switched them off.
        with as_noted(settings), torch.inference_mode(False), torch.enable_grad():
            return kind.load_from_checkpoint(
                path, map_location="cpu", weights_only=True, **replaced
            )
    except (RuntimeError, ValueError, TypeError, LookupError, ArgumentError) as error:
        reason = shorten(str(root := _root(error)), 200)
        if isinstance(root, ImportError):
            raise LabError(_missing(path, f"a part of its {class_path}", root)) from error
        raise LabError(f"{path} does not fit the {class_path} of today: {reason}") from error


def load_data(path: Path) -> "LightningDataModule":
    """Build the data module of a checkpoint.

    Images that do not exist at the saved path, as on another machine, are read from $VAE_LAB_DATA.

    Args:
        path: The checkpoint.

    Raises:
        LabError: See `load`.
    """
    from lightning import LightningDataModule

    data: Any = load(LightningDataModule, path)
    now = os.environ.get("VAE_LAB_DATA")
    if now and data.hparams.get("root") and not Path(getattr(data, "path", data.root)).exists():
        data = load(LightningDataModule, path, root=now)
    return cast("LightningDataModule", data)


def anew(model: "LightningModule") -> "LightningModule":
    """Build a model with the same class and settings, and new random weights."""
    from lightning.pytorch.cli import instantiate_module

    settings = dict(model.hparams)
    with as_noted(settings):
        del settings["_instantiator"]
        # A copy, as classes in a list are replaced in place by their objects.
        return instantiate_module(type(model), deepcopy(settings))


@contextmanager
def as_noted(settings: dict[str, Any]) -> Iterator[None]:
    """Save these settings as hyperparameters of objects built within, like LightningCLI.

    They would otherwise save the objects built from them, which a checkpoint cannot hold.
    """
    from lightning.pytorch.core.mixins.hparams_mixin import _given_hyperparameters_context

    with _given_hyperparameters_context(settings, str(settings["_instantiator"])):
        yield


def folder_of(checkpoint: Path) -> Path:
    """Return the run folder of a checkpoint, or else the folder that contains it."""
    folder = checkpoint.absolute().parent
    return folder.parent if folder.name == "checkpoints" else folder


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU, without running code, and verify its checksums.

    Raises:
        LabError: If the file is unreadable, damaged, foreign or unsafe.
    """
    import torch

    _check_bytes(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        message = f"{path} is refused: it holds objects besides weights and plain settings."
        raise LabError(message) from error
    except RuntimeError:  # another zip file
        checkpoint = None
    if not isinstance(checkpoint, dict) or "pytorch-lightning_version" not in checkpoint:
        raise LabError(f"{path} was not written by vae_lab.")
    return checkpoint


def epoch(path: Path) -> int:
    """Return the number of epochs that a checkpoint has begun."""
    saved = _without_weights(path)
    if "loops" in saved:
        return int(saved["loops"]["fit_loop"]["epoch_progress"]["current"]["started"])
    # A checkpoint of weights alone, from a callback, has the index of its epoch.
    return int(saved["epoch"]) + 1


def _without_weights(path: Path) -> dict[str, Any]:
    """Read a checkpoint's settings and counters, once for as long as the file stays the same."""
    stat = os.stat(path) if os.path.exists(path) else None
    return _read_once(path, stat and (stat.st_ino, stat.st_size, stat.st_mtime_ns))


@lru_cache
def _read_once(path: Path, version: tuple[int, ...] | None) -> dict[str, Any]:
    large = {"state_dict", "optimizer_states", "callbacks"}
    return {key: value for key, value in read(path).items() if key not in large}


def _root(error: BaseException) -> BaseException:
    """Return the original error, which jsonargparse wraps in many lines."""
    cause = error.__cause__ or error.__context__
    return error if cause is None else _root(cause)


def _check_bytes(path: Path) -> None:
    """Verify the checksum of each part, which torch does not."""
    try:
        with zipfile.ZipFile(path) as parts:
            damaged = parts.testzip() is not None
    except zipfile.BadZipFile:
        damaged = True
    except OSError as error:
        raise LabError(f"Cannot read {path}: {error.strerror}.") from error
    if damaged:
        raise LabError(f"{path} is cut short, damaged, or no checkpoint at all.")


def settings_of(kind: type[Part], path: Path) -> dict[str, Any]:
    """Import the class of a checkpoint's model or data, and return its settings.

    Lightning only builds imported classes, and only subclasses of `kind`.

    Args:
        kind: LightningModule for the model, LightningDataModule for the data, or a subclass.
        path: The checkpoint.

    Raises:
        LabError: If the file is invalid, names no class, or one that cannot be imported.
    """
    from lightning import LightningModule

    part = "model" if issubclass(kind, LightningModule) else "data"
    saved = _without_weights(path)
    settings = saved.get(kind.CHECKPOINT_HYPER_PARAMS_KEY, {})
    # Without an instantiator Lightning would silently build `kind` itself.
    if not {"_class_path", "_instantiator"} <= settings.keys():
        model = saved.get(LightningModule.CHECKPOINT_HYPER_PARAMS_KEY, {})
        others = part == "data" and "_instantiator" in model
        why = "its model learned from others' data" if others else "it was not written by vae_lab"
        raise LabError(f"{path} names no {part} class: {why}.")
    module, _, name = str(settings["_class_path"]).rpartition(".")
    try:
        getattr(import_module(module), name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise LabError(_missing(path, f"a {module}.{name}", error)) from error
    return deepcopy(dict(settings))  # building from settings changes them in place


def _missing(path: Path, what: str, error: BaseException) -> str:
    return (
        f"{path} holds {what}, which cannot be imported here ({error}); stand in the folder of "
        "its module, or name that in PYTHONPATH."
    )
