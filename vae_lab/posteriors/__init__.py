"""Approximate posteriors q(z|x), parametrised by an encoder's output.

A family defines the size of that output, and turns it into the posterior of each image.
"""

from vae_lab.posteriors.base import Family, Posterior
from vae_lab.posteriors.categorical import Categorical, GumbelSoftmax, group_count
from vae_lab.posteriors.gaussian import LOG_VARIANCE_BOUND, DiagonalGaussian, Gaussian
from vae_lab.posteriors.hierarchical import BottomUp, TwoLayers, lower_size

__all__ = [
    "LOG_VARIANCE_BOUND",
    "BottomUp",
    "Categorical",
    "DiagonalGaussian",
    "Family",
    "Gaussian",
    "GumbelSoftmax",
    "Posterior",
    "TwoLayers",
    "group_count",
    "lower_size",
]
