"""Priors p(z) of codes."""

from vae_lab.priors.base import CodeDensity, Prior
from vae_lab.priors.hierarchical import TopDown
from vae_lab.priors.mixture import Mixture, MixtureOfGaussians, VampPrior
from vae_lab.priors.moved import Moved
from vae_lab.priors.standard import StandardNormal, Uniform

__all__ = [
    "CodeDensity",
    "Mixture",
    "MixtureOfGaussians",
    "Moved",
    "Prior",
    "StandardNormal",
    "TopDown",
    "Uniform",
    "VampPrior",
]
