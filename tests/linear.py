"""A likelihood by which a linear VAE's own is known."""

import torch
from torch.distributions import Normal

from vae_lab.likelihoods import Likelihood


class Linear(Likelihood):
    """Gaussian pixels around the decoder's output as it is."""

    scale = 0.6

    def log_prob(self, output, x):
        return Normal(output, self.scale).log_prob(x).flatten(-3).sum(-1)

    def mean(self, output):
        return output

    def sample(self, output):
        return torch.normal(output, self.scale)
