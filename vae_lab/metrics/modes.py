"""Which classes a generator draws, and how evenly."""

from typing import NamedTuple

import torch
from torch import Tensor

from vae_lab.errors import LabError

__all__ = ["Modes", "modes"]

RARE = 10
"""How many times rarer than evenly a class may be drawn: a judge's few errors reach every class."""


class Modes(NamedTuple):
    """How many classes are covered, and the entropy of the classes drawn, in nats."""

    covered: int
    entropy: float


def modes(labels: Tensor, classes: int) -> Modes:
    r"""Count the classes among samples, and their entropy.

    .. math:: -\sum_k p_k \log p_k \le \log K

    A class is covered if it is drawn a tenth as often as if all were drawn alike. Of 1,000
    classes and 10,000 samples that is once, as with stacked MNIST.

    Args:
        labels: The class that a classifier takes each sample for, shape (N,).
        classes: K, how many there are.

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
    # In whole numbers, as a share at the very limit may be rounded below it.
    return Modes(int((counts * classes * RARE >= len(labels)).sum()), entropy)
