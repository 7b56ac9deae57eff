"""The models, one per file. The command line knows each class exported here by its name."""

from vae_lab.models.autoencoder import Autoencoder
from vae_lab.models.base import Model
from vae_lab.models.classical import PCA, KMeans
from vae_lab.models.classifier import Classifier
from vae_lab.models.cvae import CVAE
from vae_lab.models.feedforward import FeedForward
from vae_lab.models.gan import GAN
from vae_lab.models.infogan import InfoGAN
from vae_lab.models.mixture import GaussianMixture
from vae_lab.models.stacked import StackedAutoencoder
from vae_lab.models.vae import VAE
from vae_lab.models.vae_dis import VAEDis
from vae_lab.models.vaegan import VAEGAN

__all__ = [
    "CVAE",
    "GAN",
    "PCA",
    "VAE",
    "VAEGAN",
    "Autoencoder",
    "Classifier",
    "FeedForward",
    "GaussianMixture",
    "InfoGAN",
    "KMeans",
    "Model",
    "StackedAutoencoder",
    "VAEDis",
]
