"""The command line's parser, with short error messages."""

from vae_lab.parsing.classes import check_made, parameters
from vae_lab.parsing.messages import brief
from vae_lab.parsing.parser import LabParser

__all__ = ["LabParser", "brief", "check_made", "parameters"]
