"""What Lightning's finders put in the place of a learning rate or a batch size that was given."""

from collections.abc import Mapping
from typing import Any

from jsonargparse import Namespace
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder

from vae_lab.callbacks.attached import attached

__all__ = ["drop_finders", "keep_found", "note_found"]

_SETTINGS = {LearningRateFinder: ("model", "lr"), BatchSizeFinder: ("data", "batch_size")}


def note_found(config: Namespace, trainer: Trainer, model: LightningModule) -> None:
    """Put into a run's settings what was found, by which it trains."""
    # Lightning's Trainer declares no `datamodule`, so mypy knows of none.
    parts = {"model": model, "data": getattr(trainer, "datamodule", None)}
    for group, name in _SETTINGS.values():
        place, found = config[group].init_args, getattr(parts[group], "hparams", {})
        if name in place and name in found:
            place[name] = found[name]


def keep_found(config: Namespace, begun: Mapping[str, Any]) -> None:
    """Let a run that goes on keep what was found when it began, if it is to be looked for again.

    Args:
        config: What the run is told now.
        begun: The settings that it began with.
    """
    told = config.trainer.callbacks or []
    named = [callback.class_path for callback in (told if isinstance(told, list) else [told])]
    for finder, (group, name) in _SETTINGS.items():
        found = begun.get(group, {}).get("init_args", {}).get(name)
        if found and any(path.endswith(f".{finder.__name__}") for path in named):
            config[group].init_args[name] = found


def drop_finders(trainer: Trainer) -> None:
    """Look for nothing: what was found at a run's beginning would be another number by now."""
    callbacks = attached(trainer)
    callbacks[:] = [part for part in callbacks if not isinstance(part, (*_SETTINGS,))]
