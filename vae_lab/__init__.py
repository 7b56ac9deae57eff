"""Train, measure and look at autoencoders and VAEs, each from one short file."""

__version__ = "0.1.0"
