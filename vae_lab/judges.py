"""Judges: classifiers or other networks whose features compare images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from vae_lab.checkpoints import folder_of
from vae_lab.errors import LabError
from vae_lab.files import digest
from vae_lab.runs import Run, checkpoint_of, load_data, load_model
from vae_lab.words import article

if TYPE_CHECKING:
    from vae_lab.contracts import Images

__all__ = ["Judge", "load_judge"]


class Judge(NamedTuple):
    """A judge, its name with the digest of its weights, and a text on its own error."""

    judge: Any
    name: str
    error: str


def load_judge(path: str, model: Any, data: Images, classifies: bool = True) -> Judge:
    """Load a judge to the device of the model whose images it judges.

    Args:
        path: The judge's run folder or checkpoint, or `inception`.
        model: The model to judge.
        data: The model's data.
        classifies: Whether it must be a classifier; else its features are enough.

    Raises:
        LabError: If it does not fit the images, or was trained on other data.
    """
    from vae_lab.contracts import Classifies, Conditional, Encodes, require

    if path == "inception":
        from vae_lab.metrics.inception import Inception

        inception = Inception()
        return Judge(inception.to(model.device), f"Inception {inception.digest}", "")
    # Computed before the model is loaded, as training may replace the file.
    known = digest(checkpoint_of(path))
    judge: Any = load_model(path)
    for capability in (Classifies, Encodes) if classifies else (Encodes,):
        require(judge, capability, "--judge")
    if isinstance(judge, Conditional):
        raise LabError(f"--judge sees images alone; {article(judge)} needs a condition.")
    if judge.shape != model.shape:
        theirs, ours = (" x ".join(map(str, shape)) for shape in (judge.shape, model.shape))
        raise LabError(f"The judge takes images of {theirs}; these are {ours}.")
    theirs, ours = _source(load_data(path)), _source(data)
    if theirs != ours:
        raise LabError(f"The judge learned from {theirs} and knows nothing of {ours}.")
    return Judge(judge.to(model.device), f"{type(judge).__name__} {known}", _error(path, known))


def _source(data: Any) -> str:
    """Name the data set of images, however they were prepared."""
    folder = f" {data.path.name}" if data.hparams.get("folder") else ""
    listing = getattr(data, "listing", None)
    return type(data).__name__ + folder + (f" ({listing})" if listing else "")


def _error(path: str, known: str) -> str:
    """Return a text on the judge's test error, if it was measured for this checkpoint."""
    report = Run(folder_of(checkpoint_of(path))).evaluation
    found = report["metrics"].get("test/error")
    if found is None or report["protocol"].get("test", {}).get("checkpoint_sha256") != known:
        return ", whose test error was not measured"
    return f", whose test error is {found['value']:.4f} by its metrics.json"
