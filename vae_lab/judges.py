"""The classifier or other network whose features tell what images are like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from vae_lab.checkpoints import folder_of
from vae_lab.errors import LabError
from vae_lab.files import digest
from vae_lab.runs import Run, checkpoint_of, load_data, load_model

if TYPE_CHECKING:
    from vae_lab.contracts import Images

__all__ = ["Judge", "load_judge"]


class Judge(NamedTuple):
    """Who judges, under which name with the digest of its weights, and how often it errs."""

    judge: Any
    name: str
    error: str


def load_judge(path: str, model: Any, data: Images, classifies: bool = True) -> Judge:
    """Load what judges images to the device of the model that makes them.

    Args:
        path: Its run folder or checkpoint, or `inception`.
        model: What it is to judge.
        data: What the model learned from.
        classifies: Whether it is to be a classifier; else its features are enough.

    Raises:
        LabError: If it is none of such images, or learned from other data.
    """
    from vae_lab.contracts import Classifies, Conditional, Encodes, require

    if path == "inception":
        from vae_lab.metrics.inception import Inception

        inception = Inception()
        return Judge(inception.to(model.device), f"Inception {inception.digest}", "")
    # Taken before the model is loaded: training may replace the file in the meantime.
    known = digest(checkpoint_of(path))
    judge: Any = load_model(path)
    for capability in (Classifies, Encodes) if classifies else (Encodes,):
        require(judge, capability, "--judge")
    if isinstance(judge, Conditional):
        raise LabError(f"--judge sees images alone; a {type(judge).__name__} needs a condition.")
    if judge.shape != model.shape:
        theirs, ours = (" x ".join(map(str, shape)) for shape in (judge.shape, model.shape))
        raise LabError(f"The judge takes images of {theirs}; these are {ours}.")
    theirs, ours = _source(load_data(path)), _source(data)
    if theirs != ours:
        raise LabError(f"The judge learned from {theirs} and knows nothing of {ours}.")
    return Judge(judge.to(model.device), f"{type(judge).__name__} {known}", _error(path, known))


def _source(data: Any) -> str:
    """Name what images are of, however they were prepared."""
    folder = f" {data.path.name}" if data.hparams.get("folder") else ""
    listing = getattr(data, "listing", None)
    return type(data).__name__ + folder + (f" ({listing})" if listing else "")


def _error(path: str, known: str) -> str:
    """Say how often the judge itself errs, if that was measured on this very checkpoint."""
    report = Run(folder_of(checkpoint_of(path))).evaluation
    found = report["metrics"].get("test/error")
    if found is None or report["protocol"].get("test", {}).get("checkpoint_sha256") != known:
        return ", whose test error was not measured"
    return f", whose test error is {found['value']:.4f} by its metrics.json"
