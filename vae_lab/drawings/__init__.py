"""What is drawn of a model: which codes or images to take, by what it can do, for a picture."""

from vae_lab.drawings.kinds import DRAWINGS, Drawing

__all__ = ["DRAWINGS", "Drawing"]
