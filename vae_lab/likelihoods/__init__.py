"""Likelihoods p(x|z), parametrised by a decoder's output."""

from vae_lab.likelihoods.base import Likelihood
from vae_lab.likelihoods.bernoulli import Bernoulli
from vae_lab.likelihoods.logistic import DiscretizedLogisticMixture
from vae_lab.likelihoods.real import Gaussian, Laplace

__all__ = ["Bernoulli", "DiscretizedLogisticMixture", "Gaussian", "Laplace", "Likelihood"]
