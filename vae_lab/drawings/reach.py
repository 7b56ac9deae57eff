"""The range of codes: samples of a prior, and dimensions that a decoder uses."""

from typing import Any

from torch import Tensor

from vae_lab.contracts import Conditional, Generates, ReadsCodes
from vae_lab.priors import StandardNormal

__all__ = ["is_normal", "prior_codes", "visible"]


def is_normal(model: Any) -> bool:
    """Return whether codes are from N(0, I), not from a learned prior or an InfoGAN's noise."""
    moved = isinstance(model, Conditional) and model.moves_prior
    standard = isinstance(getattr(model, "prior", None), StandardNormal | None)
    return standard and not moved and not isinstance(model, ReadsCodes)


def prior_codes(model: Any, n: int, y: Tensor | None = None) -> Tensor:
    """Sample codes from the prior, shape (n, latent_dim), given n conditions if any."""
    prior = model.prior_given(y).sample if isinstance(model, Generates) else model.draw_codes
    codes: Tensor = prior(n)
    return codes


def visible(model: Any) -> int:
    """Return how many dimensions a decoder uses: of two layers, those of the lower one."""
    return int(getattr(getattr(model, "family", None), "visible", model.latent_dim))
