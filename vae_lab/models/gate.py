"""Who rests while the other side catches up."""

from vae_lab.arguments import above_zero

__all__ = ["Gate"]


class Gate:
    r"""Lets the side rest that is too far ahead of the other.

    By the critic's cross-entropies of real and of generated images, the critic rests if either is
    below :math:`e - m`, the generator if either is above :math:`e + m`; if both were to rest, both
    move.

    Args:
        equilibrium: The cross-entropy e of an even game; log 2 is that of a critic that cannot
            tell the two apart.
        margin: How far m a cross-entropy may be from it.

    Raises:
        LabError: If one of them is not positive.

    References:
        Larsen et al., Autoencoding beyond pixels using a learned similarity metric, 2016: the
        authors' program. https://github.com/andersbll/autoencoding_beyond_pixels
    """

    def __init__(self, equilibrium: float = 0.68, margin: float = 0.35) -> None:
        above_zero(equilibrium=equilibrium, margin=margin)
        self.equilibrium = equilibrium
        self.margin = margin

    def __call__(self, real: float, fake: float) -> dict[str, bool]:
        """Return who moves, by the mean cross-entropies of real and of generated images."""
        critic = min(real, fake) >= self.equilibrium - self.margin
        generator = max(real, fake) <= self.equilibrium + self.margin
        both = critic == generator
        return {"critic": critic or both, "generator": generator or both}
