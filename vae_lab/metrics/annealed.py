"""Log-likelihoods by annealed importance sampling, and bounds on their error."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vae_lab.arguments import at_least
from vae_lab.contracts import Batch, Generates, group_size, require
from vae_lab.errors import LabError
from vae_lab.losses import importance_bound
from vae_lab.metrics.hamiltonian import LogDensity, State, move
from vae_lab.metrics.measures import full_batches

__all__ = [
    "Annealing",
    "annealed_nll",
    "annealed_weights",
    "bidirectional_gap",
    "check_annealing",
    "sigmoid_schedule",
    "step_sizes",
]

ACCEPTANCE = 0.65
"""Share of accepted moves that step sizes are adapted to."""

PILOTS = 4
"""At most so many chains of an image find its step sizes."""


class Annealing(NamedTuple):
    """Settings of annealed importance sampling.

    Attributes:
        chains: Chains per image.
        temperatures: Steps between prior and posterior.
    """

    chains: int = 16
    temperatures: int = 1000

    @property
    def pilots(self) -> int:
        """Number of chains per image that tune the step sizes."""
        return min(PILOTS, self.chains)

    @property
    def moves(self) -> int:
        """Number of moves for an image and a sampled one: forward for each, and one reverse."""
        return self.temperatures * (2 * self.pilots + 3 * self.chains)


def check_annealing(model: Any) -> None:
    """Refuse a model that cannot be annealed.

    Raises:
        LabError: If it has no densities, or its codes are discrete.
    """
    require(model, Generates, "Annealed importance sampling")
    if group_size(model):
        raise LabError("Annealed importance sampling moves real codes; this model's are discrete.")


def annealed_nll(
    model: Any, images: Batch, how: Annealing, progress: Callable[[int], object] = lambda n: None
) -> Tensor:
    r"""Estimate -log p(x) of each image by annealed importance sampling from the prior.

    The expectation is an upper bound on -log p(x), like that of `importance_nll`, but does not
    depend on the encoder.

    Args:
        model: A `vae_lab.contracts.Generates` in evaluation mode.
        images: Images and their conditions.
        how: Chains and temperatures.
        progress: Called with the number of chains after each move.

    Returns:
        Nats per image, in double precision on the CPU, shape (N,).
    """
    parts = full_batches(model, images, how.chains)
    return -torch.cat([_anneal(model, part, how, progress)[0] for part in parts])


def bidirectional_gap(
    model: Any, images: Batch, how: Annealing, progress: Callable[[int], object] = lambda n: None
) -> Tensor:
    r"""Bound the error of `annealed_nll` on images sampled from the model.

    .. math:: \log \hat p_{up}(x) - \log \hat p_{low}(x) \ge 0 \text{ in expectation}

    The code of a sampled image is an exact posterior sample. Reverse chains from there to the prior
    bound log p(x) from above, forward chains from the prior bound it from below.

    Args:
        model: A `vae_lab.contracts.Generates` in evaluation mode.
        images: Gives the number of sampled images, and their conditions.
        how: Chains and temperatures.
        progress: Called with the number of chains after each move.

    Returns:
        Nats per sampled image, in double precision on the CPU, shape (N,).

    References:
        Grosse et al., Measuring the Reliability of MCMC Inference with Bidirectional Monte Carlo,
        2016. https://arxiv.org/abs/1606.02275
    """
    gaps = []
    for part in full_batches(model, images, how.chains):
        with torch.no_grad():
            z = _from_prior(model, part.y, 1)
            drawn = Batch(model.likelihood.sample(model.output(z[0], part.y)), part.y)
        lower, back = _anneal(model, drawn, how, progress)
        gaps.append(back(z.expand(how.chains, -1, -1)) - lower)
    return torch.cat(gaps)


def _from_prior(model: Any, y: Tensor, chains: int) -> Tensor:
    """Draw codes, shape (chains, B, D), from the prior given each image's condition."""
    conditions = torch.cat([y] * chains)
    with torch.no_grad():
        z: Tensor = model.prior_given(conditions).sample(len(conditions))
    return z.view(chains, len(y), -1)


def _anneal(
    model: Any, images: Batch, how: Annealing, progress: Callable[[int], object]
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return a lower bound of log p(x), (B,), and a function of codes that bounds it from above."""
    betas, n = sigmoid_schedule(how.temperatures), len(images.x)
    densities, tick = _densities(model, images), partial(progress, n * how.chains)
    pilots = _from_prior(model, images.y, how.pilots)
    steps = step_sizes(*densities, pilots, betas, partial(progress, n * how.pilots))
    start = _from_prior(model, images.y, how.chains)
    lower = importance_bound(annealed_weights(*densities, start, betas, steps, tick))

    def back(z: Tensor) -> Tensor:
        return -importance_bound(annealed_weights(*densities, z, betas[::-1], steps[::-1], tick))

    return lower, back


def _densities(model: Any, images: Batch) -> tuple[LogDensity, LogDensity]:
    """Return log p(z) and log p(x|z) of the images as functions of codes (n, B, D)."""
    x, y = images
    # A prior may depend on the encoder, whose gradients are not needed.
    with torch.no_grad():
        prior = model.prior_given(y)
    return prior.log_prob, lambda z: model.log_likelihood(x, z, y)


def sigmoid_schedule(temperatures: int) -> list[float]:
    r"""Return inverse temperatures from 0 to 1, densest at both ends.

    .. math:: \beta_t = \frac{s_t - s_0}{s_T - s_0}, \quad
        s_t = \sigma\!\left(4 \left(\tfrac{2 t}{T} - 1\right)\right)

    Args:
        temperatures: T, the number of steps from 0 to 1.

    Raises:
        LabError: If T is below 1.
    """
    at_least(1, temperatures=temperatures)
    path = torch.linspace(-4, 4, temperatures + 1, dtype=torch.float64).sigmoid()
    betas: list[float] = ((path - path[0]) / (path[-1] - path[0])).tolist()
    return betas


def step_sizes(
    log_prior: LogDensity,
    log_likelihood: LogDensity,
    z: Tensor,
    betas: list[float],
    progress: Callable[[], object] = lambda: None,
) -> list[Tensor]:
    r"""Tune step sizes to an acceptance rate of about two thirds, with chains of their own.

    Step sizes tuned on the weighted chains would depend on their state, so that moves would not
    leave :math:`f_\beta` invariant, and weights would be biased.

    Args:
        log_prior: Maps codes (n, B, D) to log p(z), shape (n, B).
        log_likelihood: Maps codes (n, B, D) to log p(x|z) of B images, shape (n, B).
        z: Initial codes of n chains per image, drawn from the prior, shape (n, B, D).
        betas: Inverse temperatures, from 0 to 1.
        progress: Called after each temperature but the first.

    Returns:
        Leapfrog step sizes at each inverse temperature, shape (1, B, 1) each.
    """
    state = State.at(z, log_prior, log_likelihood)
    steps = [torch.full((1, z.shape[1], 1), 0.1, dtype=z.dtype, device=z.device)]
    for beta in betas[1:]:
        state, acceptance = move(state, beta, steps[-1], log_prior, log_likelihood)
        rate = acceptance.mean(0, keepdim=True).unsqueeze(-1)
        steps.append(steps[-1] * torch.where(rate > ACCEPTANCE, 1.02, 0.98))
        progress()
    return steps


def annealed_weights(
    log_prior: LogDensity,
    log_likelihood: LogDensity,
    z: Tensor,
    betas: list[float],
    steps: list[Tensor],
    progress: Callable[[], object] = lambda: None,
) -> Tensor:
    r"""Run chains of codes along the geometric path between prior and posterior.

    .. math:: f_\beta(z) = p(z)\, p(x | z)^\beta, \quad
        \log w = \sum_t (\beta_t - \beta_{t-1}) \log p(x | z_{t-1})

    where :math:`z_t` follows from :math:`z_{t-1}` by one move of Hamiltonian Monte Carlo that
    leaves :math:`f_{\beta_t}` invariant. For codes from the prior and betas rising from 0 to 1 the
    mean of w is p(x); for codes from the posterior and falling betas it is 1 / p(x).

    Args:
        log_prior: Maps codes (n, B, D) to log p(z), shape (n, B).
        log_likelihood: Maps codes (n, B, D) to log p(x|z) of B images, shape (n, B).
        z: Initial codes of n chains per image, shape (n, B, D).
        betas: Inverse temperatures, from the distribution of `z` to the other.
        steps: Leapfrog step sizes at these temperatures, tuned without these chains, shape
            (1, B, 1) each.
        progress: Called after each temperature but the first.

    Returns:
        Log-weights in double precision on the CPU, shape (n, B).

    References:
        Neal, Annealed Importance Sampling, 2001. https://arxiv.org/abs/physics/9803008
        Wu et al., On the Quantitative Analysis of Decoder-Based Generative Models, 2017.
        https://arxiv.org/abs/1611.04273
    """
    state = State.at(z, log_prior, log_likelihood)
    log_weights = torch.zeros(z.shape[:2], dtype=torch.float64)
    for (before, beta), step in zip(pairwise(betas), steps[1:], strict=True):
        # To the CPU first: not every accelerator has double precision.
        log_weights += (beta - before) * state.log_likelihood.cpu().double()
        state, _ = move(state, beta, step, log_prior, log_likelihood)
        progress()
    return log_weights
