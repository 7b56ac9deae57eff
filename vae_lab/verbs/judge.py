"""The classifier that judges what a model draws of each class."""

from typing import TYPE_CHECKING, Any

from vae_lab.errors import LabError
from vae_lab.runs import Run, checkpoint_of, load_model

if TYPE_CHECKING:
    from vae_lab.contracts import Classifies

__all__ = ["load_judge"]


def load_judge(path: str, digest: str, model: Any) -> "tuple[Classifies, str]":
    """Load a classifier to the device of the model that it is to judge, and say who it is.

    Args:
        path: Its run folder or checkpoint.
        digest: Of that checkpoint.
        model: What it is to judge.

    Raises:
        LabError: If it is no classifier of such images, or the model draws no classes.
    """
    from vae_lab.contracts import Classifies, Conditional, require

    require(model, Conditional, "--judge")
    if not model.classes:
        raise LabError(
            f"--judge needs a model of classes; this {type(model).__name__}'s condition is a "
            f"{type(model.condition).__name__}."
        )
    judge: Any = load_model(path)
    require(judge, Classifies, "--judge")
    if judge.shape != model.shape:
        theirs, ours = (" x ".join(map(str, shape)) for shape in (judge.shape, model.shape))
        raise LabError(f"The judge takes images of {theirs}; these are {ours}.")
    about = f"judged by {type(judge).__name__} {digest}, {_error(path, digest)}"
    return judge.to(model.device), about


def _error(path: str, digest: str) -> str:
    """Say how often the judge itself errs, if that was measured on this very checkpoint."""
    folder = checkpoint_of(path).absolute().parent
    report = Run(folder.parent if folder.name == "checkpoints" else folder).evaluation
    found = report["metrics"].get("test/error")
    if found is None or report["protocol"].get("test", {}).get("checkpoint_sha256") != digest:
        return "whose test error was not measured"
    return f"whose test error is {found['value']:.4f} by its metrics.json"
