"""The models, one a file; a name exported here is a name the command line knows."""

from vae_lab.models.autoencoder import Autoencoder
from vae_lab.models.base import Model
from vae_lab.models.stacked import StackedAutoencoder
from vae_lab.models.vae import VAE

__all__ = ["VAE", "Autoencoder", "Model", "StackedAutoencoder"]
