"""Error and likelihood of a classifier."""

from vae_lab.contracts import Batch, Classifies
from vae_lab.errors import LabError
from vae_lab.metrics.measures import Measure, in_batches

__all__ = ["classification"]


def classification(model: Classifies, images: Batch) -> dict[str, Measure]:
    """Measure error and label likelihood; nothing if images have no class.

    Raises:
        LabError: If a label is not among the model's classes.
    """
    if not images.has_classes:
        return {}
    log_probs = in_batches(model, images, lambda x, _: model.log_probs(x))
    y, classes = images.y.cpu().long(), log_probs.shape[1]
    if not 0 <= y.min() <= y.max() < classes:
        found = f"{int(y.min())} to {int(y.max())}"
        raise LabError(f"The labels go from {found}, the model's classes from 0 to {classes - 1}.")
    missed = (log_probs.argmax(1) != y).double().mean().item()
    nll = -log_probs.gather(1, y.unsqueeze(1)).squeeze(1)
    return {
        "error": Measure.share(missed, len(y), "of images, taken for another class than theirs"),
        "label_nll": Measure.mean(nll, "nats", "-log p(y|x) of the label y"),
    }
