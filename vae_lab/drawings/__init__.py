"""Pictures of a model: which codes or images each one takes, by the model's capabilities."""

from vae_lab.drawings.kinds import DRAWINGS, Drawing

__all__ = ["DRAWINGS", "Drawing"]
