"""Sources that torchvision downloads, checks and reads."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from vae_lab.data.base import ImageData
from vae_lab.errors import LabError
from vae_lab.fetch import fetch

__all__ = ["CIFAR10", "KMNIST", "MNIST", "FashionMNIST", "VisionData"]


class VisionData(ImageData):
    """Base of sources read by a class of `torchvision.datasets`, with `files` in `folder`."""

    @property
    @abstractmethod
    def dataset(self) -> str:
        """Name of torchvision's class."""

    folder: ClassVar[str]
    files: ClassVar[tuple[str, ...]]

    def open(self, **which: Any) -> Any:
        """Return torchvision's data set, downloaded if a file is missing.

        Raises:
            LabError: If files are missing and cannot be downloaded, or are damaged.
        """
        from torchvision import datasets

        dataset = getattr(datasets, self.dataset)
        if not all((self.path / name).exists() for name in self.files):
            fetch(lambda root: dataset(root, download=True), self.root, self.missing)
        try:
            return dataset(self.root, **which)
        # The exception depends on where a file is damaged.
        except Exception as error:
            # torchvision does not look into folders of images.
            files = [name for name in self.files if not (self.path / name).is_dir()]
            raise LabError(
                f"A file in {self.path} is damaged ({error}). Delete {', '.join(files)} there "
                "and they are fetched again."
            ) from error

    @property
    def path(self) -> Path:
        """The folder of the files."""
        return self.root / self.folder

    @property
    def missing(self) -> str:
        """What a user has to do without these files and without a network."""
        return (
            f"{self.dataset} is not in {self.root}: put {', '.join(self.files)} into "
            f"{self.path}, or set --data.root or VAE_LAB_DATA to the folder that holds "
            f"{self.folder}."
        )

    def read(self, split: str) -> tuple[Tensor, Tensor]:
        """Return the images and classes of torchvision's train or test set."""
        dataset = self.open(train=split == "train")
        pixels = torch.from_numpy(np.asarray(dataset.data))
        colour = pixels.ndim == 4
        images = pixels.permute(0, 3, 1, 2).contiguous() if colour else pixels.unsqueeze(1)
        labels = torch.as_tensor(dataset.targets)
        if len(images) != len(labels):
            raise LabError(
                f"{self.path} holds {len(images)} {split} images but {len(labels)} labels. Delete "
                f"{', '.join(self.files)} there and they are fetched again."
            )
        return images, labels


class MNIST(VisionData):
    """Handwritten digits, 28 x 28, grey: 50,000 train, 10,000 validation, 10,000 test.

    References:
        LeCun et al., Gradient-Based Learning Applied to Document Recognition (1998).
    """

    native = (1, 28, 28)
    classes = tuple("0123456789")
    val_share = 1 / 6
    dataset = "MNIST"
    folder = "MNIST/raw"
    files = tuple(
        f"{split}-{kind}-ubyte"
        for split in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    )


class FashionMNIST(MNIST):
    """Pieces of clothing, 28 x 28, grey, divided like MNIST.

    References:
        Xiao et al., Fashion-MNIST: a Novel Image Dataset (2017), arXiv:1708.07747.
    """

    classes = (
        "T-shirt", "trouser", "pullover", "dress", "coat",
        "sandal", "shirt", "sneaker", "bag", "ankle boot",
    )  # fmt: skip
    dataset = "FashionMNIST"
    folder = "FashionMNIST/raw"


class KMNIST(MNIST):
    """Cursive Japanese characters, 28 x 28, grey, divided like MNIST.

    References:
        Clanuwat et al., Deep Learning for Classical Japanese Literature (2018), arXiv:1812.01718.
    """

    classes = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
    dataset = "KMNIST"
    folder = "KMNIST/raw"


class CIFAR10(VisionData):
    """Photographs of ten kinds, 32 x 32, colour: 45,000 train, 5,000 validation, 10,000 test.

    References:
        Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009).
    """

    native = (3, 32, 32)
    classes = (
        "airplane", "automobile", "bird", "cat", "deer",
        "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip
    dataset = "CIFAR10"
    folder = "cifar-10-batches-py"
    files = (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta")
