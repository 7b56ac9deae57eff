"""Train, measure and look at autoencoders, VAEs and GANs, each from one short file."""

__version__ = "0.1.0"
