"""The handwritten digits that come with scikit-learn."""

import torch
from torch import Tensor

from vae_lab.data.base import ImageData
from vae_lab.data.store import cut

__all__ = ["Digits"]


class Digits(ImageData):
    """1,797 handwritten digits, 8 x 8, grey, without a download.

    The 17 grey levels are scaled to 0-255. Our own fixed split: 1,500 images for training, 150 of
    them for validation, and 297 for test.

    References:
        Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI repository (1998).
    """

    native = (1, 8, 8)
    classes = tuple("0123456789")

    def read(self, split: str) -> tuple[Tensor, Tensor]:
        """Return the images and their classes; `root` is not used."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        train, test = cut(len(digits.target), 297, 0)
        rows = train if split == "train" else test
        pixels = torch.as_tensor(digits.images)[rows].unsqueeze(1)
        return (pixels * 255 / 16).round().byte(), torch.as_tensor(digits.target)[rows]
