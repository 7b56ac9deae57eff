"""Learning rates and batch sizes found by Lightning's finders."""

import sys
from collections.abc import Mapping
from typing import Any

from jsonargparse import Namespace
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning_utilities.core.rank_zero import rank_zero_only

from vae_lab.callbacks.attached import attached

__all__ = ["drop_finders", "keep_found", "note_found"]

_SETTINGS = {LearningRateFinder: ("model", "lr"), BatchSizeFinder: ("data", "batch_size")}


def note_found(config: Namespace, trainer: Trainer, model: LightningModule) -> None:
    """Write the found values into a run's settings, as it trains with them."""
    # Lightning's Trainer declares no `datamodule`, so mypy knows of none.
    parts = {"model": model, "data": getattr(trainer, "datamodule", None)}
    for group, name in _SETTINGS.values():
        place, found = config[group].init_args, getattr(parts[group], "hparams", {})
        if name in place and name in found:
            place[name] = found[name]


def keep_found(config: Namespace, begun: Mapping[str, Any]) -> None:
    """Keep the values of a resumed run's beginning for settings that have a finder.

    Args:
        config: The settings of the resumed run.
        begun: The settings at its beginning.
    """
    named = _names(config.trainer.callbacks)
    for finder, (group, name) in _SETTINGS.items():
        found = begun.get(group, {}).get("init_args", {}).get(name)
        if found and finder.__name__ in named:
            config[group].init_args[name] = found


def drop_finders(trainer: Trainer, begun: Mapping[str, Any]) -> None:
    """Remove a resumed run's finders, which would find other values than at its beginning.

    Args:
        trainer: The trainer of the resumed run.
        begun: The settings at its beginning; finders that are not among them are reported.
    """
    callbacks, known = attached(trainer), _names(begun.get("trainer", {}).get("callbacks"))
    for finder, (_, name) in _SETTINGS.items():
        if any(isinstance(part, finder) for part in callbacks) and finder.__name__ not in known:
            _say_unused(finder.__name__, name)
    callbacks[:] = [part for part in callbacks if not isinstance(part, (*_SETTINGS,))]


def _names(callbacks: Any) -> list[str]:
    """Return the class names of a configuration's callbacks: None, one or a list."""
    told = callbacks if isinstance(callbacks, list) else filter(None, [callbacks])
    return [callback["class_path"].rpartition(".")[2] for callback in told]


@rank_zero_only
def _say_unused(finder: str, setting: str) -> None:
    why = f"a run goes on with the {setting} it began with"
    print(f"lab fit: {finder} looks for nothing: {why}.", file=sys.stderr)
