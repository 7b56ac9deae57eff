"""Hamiltonian Monte Carlo between prior and posterior, for many chains at once."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["LEAPFROGS", "LogDensity", "State", "move"]

LogDensity = Callable[[Tensor], Tensor]

LEAPFROGS = 10
"""Steps of a path before it is decided whether to move to its end."""


class State(NamedTuple):
    """Codes of shape (n, B, D), both log-densities there, and their gradients."""

    z: Tensor
    log_prior: Tensor
    log_likelihood: Tensor
    prior_gradient: Tensor
    likelihood_gradient: Tensor

    def log_density(self, beta: float) -> Tensor:
        return self.log_prior + beta * self.log_likelihood

    def gradient(self, beta: float) -> Tensor:
        return self.prior_gradient + beta * self.likelihood_gradient

    @classmethod
    def at(cls, z: Tensor, log_prior: LogDensity, log_likelihood: LogDensity) -> "State":
        """Evaluate both densities at codes (n, B, D)."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            values = log_prior(z), log_likelihood(z)
            gradients = [torch.autograd.grad(value.sum(), z)[0] for value in values]
        return cls(z.detach(), *(value.detach() for value in values), *gradients)


def move(
    start: State, beta: float, step: Tensor, log_prior: LogDensity, log_likelihood: LogDensity
) -> tuple[State, Tensor]:
    r"""Move chains by Hamiltonian dynamics, leaving :math:`p(z)\, p(x | z)^\beta` invariant.

    Args:
        start: State of the chains.
        beta: Inverse temperature.
        step: Size of a leapfrog step, shape (1, B, 1).
        log_prior: Maps codes (n, B, D) to log p(z), shape (n, B).
        log_likelihood: Maps codes (n, B, D) to log p(x|z), shape (n, B).

    Returns:
        The new state, and the acceptance probabilities, shape (n, B).

    References:
        Neal, MCMC Using Hamiltonian Dynamics, 2011. https://arxiv.org/abs/1206.1901
    """
    momentum, end = torch.randn_like(start.z), start
    energy = start.log_density(beta) - momentum.square().sum(-1) / 2
    momentum = momentum + step / 2 * start.gradient(beta)
    for i in range(LEAPFROGS):
        end = State.at(end.z + step * momentum, log_prior, log_likelihood)
        momentum = momentum + step / (2 if i == LEAPFROGS - 1 else 1) * end.gradient(beta)
    change = end.log_density(beta) - momentum.square().sum(-1) / 2 - energy
    # A trajectory that diverged is rejected.
    acceptance = change.clamp(max=0).exp().nan_to_num(0)
    accepted = torch.rand_like(acceptance) < acceptance
    kept = (
        torch.where(accepted.view(*accepted.shape, *[1] * (new.ndim - 2)), new, old)
        for new, old in zip(end, start, strict=True)
    )
    return State(*kept), acceptance
