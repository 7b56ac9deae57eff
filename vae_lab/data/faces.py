"""Data sets of faces: Frey faces and CelebA."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vae_lab.arguments import at_least
from vae_lab.data.base import ImageData
from vae_lab.data.decode import decode
from vae_lab.data.store import cut
from vae_lab.data.vision import VisionData
from vae_lab.errors import LabError
from vae_lab.image_files import open_image

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["CelebA", "FreyFaces"]


class FreyFaces(ImageData):
    """1,965 frames of Brendan Frey's face, 28 x 20, grey, without labels (all are 0).

    Our own fixed split: 1,565 frames for training, 156 of them for validation, and 400 for test.
    The frames are of one film, so that test frames resemble training frames.

    References:
        Roweis, Saul and Hinton, Global Coordination of Local Linear Models (2001).
    """

    native = (1, 28, 20)

    def read(self, split: str) -> tuple[Tensor, Tensor]:
        """Return the frames of `frey_rawface.mat`, in `root` or in its folder `frey_faces`."""
        from scipy.io import loadmat

        path = self._file()
        try:
            frames = torch.from_numpy(loadmat(path)["ff"].T.copy()).view(-1, *self.native)
        # The exception depends on where a file is damaged.
        except Exception as error:
            raise LabError(f"{path} is damaged ({error}). Put a whole copy there.") from error
        train, test = cut(len(frames), 400, 0)
        rows = train if split == "train" else test
        return frames[rows], torch.zeros(len(rows), dtype=torch.long)

    def _file(self) -> Path:
        name = "frey_rawface.mat"
        for folder in (self.root / "frey_faces", self.root):
            if (folder / name).is_file():
                return folder / name
        raise LabError(
            f"FreyFaces is not in {self.root}: put {name}, from Sam Roweis's page of data, into "
            f"{self.root / 'frey_faces'}, or set --data.root or VAE_LAB_DATA."
        )


class CelebA(VisionData):
    """202,599 faces with 40 attributes as labels, colour, in the official three splits.

    Each aligned image of 218 x 178 is cropped at the centre and scaled, by default to 64 x 64.

    Args:
        root: Folder of the data sets; by default $VAE_LAB_DATA, else `data`.
        crop: Side of the cropped square, in pixels of the original.
        **kwargs: Arguments of every source.

    References:
        Liu et al., Deep Learning Face Attributes in the Wild (2015), arXiv:1411.7766.
    """

    native = (3, 64, 64)
    classes = (
        "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs",
        "Big_Lips", "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair",
        "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses", "Goatee", "Gray_Hair",
        "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache",
        "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline",
        "Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings",
        "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young",
    )  # fmt: skip
    own_validation = True
    num_classes = None
    dataset = "CelebA"
    folder = "celeba"
    files = (
        "img_align_celeba",
        "list_attr_celeba.txt",
        "identity_CelebA.txt",
        "list_bbox_celeba.txt",
        "list_landmarks_align_celeba.txt",
        "list_eval_partition.txt",
    )

    def __init__(self, root: str | None = None, *, crop: int = 148, **kwargs: Any) -> None:
        super().__init__(root, **kwargs)
        at_least(1, crop=crop)
        self.crop = crop

    def read(self, split: str) -> tuple[Tensor, Tensor]:
        """Decode one of the official splits, or read it from the cache."""
        faces = self.open(split="valid" if split == "val" else split)
        files = [self.path / "img_align_celeba" / name for name in faces.filename]
        shape = (self.shape[0], *self.size)
        return decode(files, shape, self.open_file, self.root, f"crop {self.crop}"), faces.attr

    def open_file(self, path: Path) -> "Image":
        """Crop an image at the centre, and scale it."""
        from PIL.Image import Resampling

        face = open_image(path, self.shape[0])
        if self.crop > min(face.size):
            raise LabError(
                f"crop is {self.crop}, and {path.name} has {face.width} x {face.height} pixels."
            )
        left, top = (face.width - self.crop) // 2, (face.height - self.crop) // 2
        centre = face.crop((left, top, left + self.crop, top + self.crop))
        return centre.resize(self.size[::-1], Resampling.BICUBIC)
