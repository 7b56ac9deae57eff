"""Data modules, one per source of images, each over one resident 8-bit tensor."""

from vae_lab.data.base import Binarize, ImageData
from vae_lab.data.digits import Digits
from vae_lab.data.faces import CelebA, FreyFaces
from vae_lab.data.folder import ImageFolder
from vae_lab.data.loader import Batches
from vae_lab.data.store import Split
from vae_lab.data.vision import CIFAR10, KMNIST, MNIST, FashionMNIST

__all__ = [
    "CIFAR10",
    "KMNIST",
    "MNIST",
    "Batches",
    "Binarize",
    "CelebA",
    "Digits",
    "FashionMNIST",
    "FreyFaces",
    "ImageData",
    "ImageFolder",
    "Split",
]
