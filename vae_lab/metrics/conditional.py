"""Whether a condition does what it says."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vae_lab.contracts import Classifies
from vae_lab.errors import LabError
from vae_lab.metrics.measures import Measure, device_of, seeded

__all__ = ["agreement", "from_prior"]


def from_prior(model: Any) -> Callable[[Tensor, int, Tensor | None], Tensor]:
    r"""Return what draws log p(x|z, y) for codes from the prior, whose mean likelihood is p(x|y).

    .. math:: p(x | y) \approx \frac{1}{S} \sum_s p(x | z_s, y), \quad z_s \sim p(z | y)

    Args:
        model: What fulfils `vae_lab.contracts.Generates`, in evaluation mode.

    Returns:
        Maps images (B, C, H, W), a number n and conditions to nats of shape (n, B).

    References:
        Sohn et al., Learning Structured Output Representation using Deep Conditional Generative
        Models, 2015, equation 6. https://papers.nips.cc/paper/5775
    """

    def log_likelihoods(x: Tensor, n: int, y: Tensor | None) -> Tensor:
        z = model.prior_given(y).sample(n * len(x)).unflatten(0, (n, len(x)))
        nats: Tensor = model.log_likelihood(x, z, y)
        return nats

    return log_likelihoods


def agreement(model: Any, judge: Classifies, n: int, seed: int, about: str) -> dict[str, Measure]:
    """Measure how often a classifier takes what a model draws of a class for that class.

    Args:
        model: What samples given a class, in evaluation mode.
        judge: The classifier, in evaluation mode, on the model's device.
        n: How many images of each class.
        seed: Fixes the codes; the caller's random stream is untouched.
        about: Who judges.

    Raises:
        LabError: If there is nothing to judge, or the classifier knows fewer classes.
    """
    if n < 1:
        raise LabError(f"A judge needs at least one image of each class, not {n}.")
    shares = []
    with torch.inference_mode(), seeded(seed):
        for k in range(model.classes):
            y = torch.full((n,), k, device=device_of(model))
            parts = [judge.log_probs(model.sample(len(part), part)) for part in torch.split(y, 500)]
            log_probs = torch.cat(parts)
            if log_probs.shape[1] < model.classes:
                raise LabError(
                    f"The judge tells {log_probs.shape[1]} classes apart, the model draws "
                    f"{model.classes}."
                )
            shares.append((log_probs.argmax(1) == y).sum().item() / n)
    least = min(shares)
    note = f"of {n} images a class, means given codes from the prior, taken for it; {about}"
    worst = f"class {shares.index(least)}, the least share {note}"
    return {
        "label_agreement": Measure.share(sum(shares) / len(shares), n * len(shares), note),
        "least_label_agreement": Measure.share(least, n, worst),
    }
