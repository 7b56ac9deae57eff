"""Models that another one starts from: named by a checkpoint, or as a class."""

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
    """Store a path as it is; without a check, a class's settings would be taken for one."""
    if not isinstance(path, str):
        raise ValueError("not a path")
    return str(path)


if TYPE_CHECKING:
    Start = str
else:
    # By its slash the command line tells a path from the name of a class.
    Start = restricted_string_type("Start", r".*[/\\].*|.*\.ckpt")
    register_type(Start, _stored, Start, fail_already_registered=False)


def started(path: str, shape: Shape) -> Model:
    """Load the model of a checkpoint, in evaluation mode, to start another one from.

    Raises:
        LabError: If there is none, or it is of images of another shape.
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
    """Return the class and the arguments of a model, as a YAML file says them.

    They become that setting of one of `kind`, which is complete without the file that it started
    from. A model that is of that kind itself is gone on with, and hands its own setting on.
    """
    if isinstance(model, kind):
        return model.hparams[setting]
    own = {k: v for k, v in model.hparams.items() if k != "shape" and not k.startswith("_")}
    return {"class_path": model.hparams["_class_path"], "init_args": own}
