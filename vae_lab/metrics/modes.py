"""Coverage of classes by a generator."""

from typing import NamedTuple

import torch
from torch import Tensor

from vae_lab.errors import LabError

__all__ = ["Modes", "modes"]

RARE = 10
"""How many times rarer than evenly a class may be drawn: a judge's few errors reach every class."""


class Modes(NamedTuple):
    """Number of classes covered, and entropy of the sampled classes in nats."""

    covered: int
    entropy: float


def modes(labels: Tensor, classes: int) -> Modes:
    r"""Count the classes among samples, and their entropy.

    .. math:: -\sum_k p_k \log p_k \le \log K

    A class is covered if it has at least a tenth of its share under a uniform distribution; for
    the 1,000 classes of stacked MNIST and 10,000 samples, one sample.

    Args:
        labels: Predicted class of each sample, shape (N,).
        classes: K, the number of classes.

    Raises:
        LabError: If there is no sample.

    References:
        Metz et al., Unrolled Generative Adversarial Networks, 2017.
        https://arxiv.org/abs/1611.02163
    """
    if not len(labels):
        raise LabError("Classes are counted of one sample at least.")
    counts = torch.bincount(labels.cpu(), minlength=classes)
    entropy = torch.special.entr(counts.double() / len(labels)).sum().item()
    # In integers, as a share exactly at the limit may be rounded below it.
    return Modes(int((counts * classes * RARE >= len(labels)).sum()), entropy)
