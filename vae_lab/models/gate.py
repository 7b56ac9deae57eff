"""Lets the player that is too far ahead skip steps."""

from vae_lab.arguments import above_zero

__all__ = ["Gate"]


class Gate:
    r"""Lets the player that is too far ahead skip steps.

    The critic skips a step if its cross-entropy on real or on generated images is below
    :math:`e - m`, the generator if either is above :math:`e + m`; if both would skip, both step.

    Args:
        equilibrium: The cross-entropy e at equilibrium; log 2 is that of a critic that cannot
            tell real from generated images.
        margin: Largest allowed distance m of a cross-entropy from e.

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
        """Return who steps, given the mean cross-entropies on real and on generated images."""
        critic = min(real, fake) >= self.equilibrium - self.margin
        generator = max(real, fake) <= self.equilibrium + self.margin
        both = critic == generator
        return {"critic": critic or both, "generator": generator or both}
