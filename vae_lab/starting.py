"""The checkpoint that a training starts from, and the settings of a run that is resumed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsonargparse import Namespace, dict_to_namespace

from vae_lab import runs
from vae_lab.callbacks.finders import keep_found
from vae_lab.checkpoints import folder_of

__all__ = ["initial_settings", "settled"]

_STARTS = ("encoder", "gan")  # settings that name a model to start from


@contextmanager
def settled(config: Namespace, checkpoint: Path | None) -> Iterator[Path | None]:
    """Resolve the checkpoint that a model starts from, for config.yaml, and yield it.

    The path includes the version, as a run's newest version may change. A resumed model contains
    what it started from in its own checkpoint, and keeps the path saved then.
    """
    arguments = config.model.init_args
    keys = [key for key in _STARTS if isinstance(arguments.get(key), str)]
    if checkpoint is None:
        source = None
        places = [(arguments, key) for key in keys] + [(config, "weights")] * bool(config.weights)
        for place, key in places:
            source = runs.checkpoint_of(place[key]).absolute()
            place[key] = str(source)
        yield source
        return
    begun = initial_settings(checkpoint)
    config.weights = begun.get("weights")
    keep_found(config, begun)
    noted = {key: arguments[key] for key in keys} | begun.get("model", {}).get("init_args", {})
    for key in keys:
        arguments[key] = str(checkpoint)
    yield None
    for key in keys:
        began = noted[key]
        arguments[key] = dict_to_namespace(began) if isinstance(began, dict) else began


def initial_settings(checkpoint: Path) -> dict[str, Any]:
    """Return the initial settings of a checkpoint's run."""
    # The path may be a link into a run folder, or a run's checkpoint a link to elsewhere.
    places = map(folder_of, (checkpoint.resolve(), checkpoint))
    return next(filter(None, (runs.Run(place).config for place in places)), {})
