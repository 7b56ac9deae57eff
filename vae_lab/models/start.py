"""Models that another one starts from, given as a checkpoint or as a class."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse.typing import register_type, restricted_string_type
from lightning import LightningModule

from vae_lab.checkpoints import load
from vae_lab.contracts import Shape
from vae_lab.errors import LabError
from vae_lab.models.base import Model

__all__ = ["MakeModel", "Start", "described", "started"]

MakeModel = Callable[[Shape], Model]


def _stored(path: Any) -> str:
    """Accept strings only, so that a class's settings are not taken for a path."""
    if not isinstance(path, str):
        raise ValueError("not a path")
    return str(path)


if TYPE_CHECKING:
    Start = str
else:
    # The command line tells a path from a class name by its slash.
    Start = restricted_string_type("Start", r".*[/\\].*|.*\.ckpt")
    register_type(Start, _stored, Start, fail_already_registered=False)


def started(path: str, shape: Shape) -> Model:
    """Load the model of a checkpoint, in evaluation mode, as a start for another one.

    Raises:
        LabError: If there is none, or its images have another shape.
    """
    if Path(path).is_dir():
        raise LabError(
            f"{path} is a folder; name a checkpoint in it, such as checkpoints/best.ckpt."
        )
    model = load(LightningModule, Path(path)).eval()
    if not isinstance(model, Model) or model.shape != tuple(shape):
        theirs = " x ".join(map(str, getattr(model, "shape", ())))
        raise LabError(
            f"The model of {path} takes images of {theirs or 'an unknown shape'}; "
            f"these are {' x '.join(map(str, shape))}."
        )
    return model


def described(model: Model, kind: type[Model], setting: str) -> Any:
    """Return the class and the arguments of a model, as in a YAML file.

    Stored as a setting of a new model of class `kind`, they make its checkpoint independent of the
    file that it started from. A model of class `kind` passes on its own setting instead.
    """
    if isinstance(model, kind):
        return model.hparams[setting]
    own = {k: v for k, v in model.hparams.items() if k != "shape" and not k.startswith("_")}
    return {"class_path": model.hparams["_class_path"], "init_args": own}
