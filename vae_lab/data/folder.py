"""Any folder of image files."""

import hashlib
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae_lab.data.base import ImageData
from vae_lab.data.decode import decode
from vae_lab.data.store import cut
from vae_lab.errors import LabError
from vae_lab.image_files import open_image, opened

__all__ = ["ImageFolder"]

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
TEST_SHARE = 0.1
_ALL = "**/*"


class ImageFolder(ImageData):
    """The image files of a folder; its subfolders, if it has any, are the classes.

    A folder that holds `train` is divided already: `test` and `val` beside it are used where
    they exist. What is not there is cut from train, a tenth each; the test images by a cut that
    never changes. Images are decoded once, in colour unless `channels` is 1, and kept in a cache.
    `resize` fills the size and crops what is beyond it; it may be left out if all images are of
    one size.

    Args:
        root: Folder that holds the data sets; by default $VAE_LAB_DATA, else `data`.
        folder: The folder, from `root` on, or an absolute path; to be left out if it is `root`.
        **kwargs: What every other source takes.
    """

    native = (3, 0, 0)

    def __init__(self, root: str | None = None, *, folder: str = ".", **kwargs: Any) -> None:
        if root is None and folder == ".":
            raise LabError("Which folder? Name it by --data.root or --data.folder.")
        super().__init__(root, **kwargs)
        self.path = self.root / Path(folder).expanduser()

    @property
    def own_validation(self) -> bool:
        """Whether a `val` folder lies beside `train`."""
        return self._part("val") != self._part("train")

    @cached_property
    def label_names(self) -> tuple[str, ...]:
        """The subfolders' names, in alphabetical order; none for a flat folder."""
        return _classes(self._part("train"))

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width asked for, or else those of the first image."""
        if self.resize:
            return self.resize
        path, _ = _listed(self._part("train"), self.label_names)[0]
        return opened(path, lambda path: open_image(path, channels=1)).size[::-1]

    @cached_property
    def listing(self) -> str | None:
        """Digest of the files' names and sizes, which tells a folder from others."""
        files = _images(self.path, _ALL)
        names = (f"{path.relative_to(self.path)}|{path.stat().st_size}\n" for path in files)
        return hashlib.sha256("".join(names).encode()).hexdigest()[:12] if files else None

    def protocol(self, name: str) -> dict[str, Any]:
        """Say which images a number was measured on, and of which files."""
        return super().protocol(name) | {"listing": self.listing}

    def read(self, split: str) -> tuple[Tensor, Tensor]:
        """Decode the images of a part of the folder, or read them from the cache."""
        files = _listed(self._part(split), self.label_names)
        whole = split == "val" or self._part("test") != self._part("train")
        kept, test = cut(len(files), 0 if whole else max(1, round(len(files) * TEST_SHARE)), 0)
        rows = test if split == "test" and not whole else kept
        files = [files[k] for k in rows.tolist()]
        opener = partial(open_image, channels=self.shape[0], size=self.resize)
        shape = (self.shape[0], *self.size)
        recipe = "fill" if self.resize else "as is"
        images = decode([path for path, _ in files], shape, opener, self.path, recipe)
        return images, torch.tensor([label for _, label in files])

    def _part(self, split: str) -> Path:
        """The folder of a split, or that of train if it has none."""
        train, part = self.path / "train", self.path / split
        # Without `train`, a folder called `test` is a class like any other.
        if not train.is_dir():
            return self.path
        return part if part.is_dir() else train


def _listed(part: Path, names: tuple[str, ...]) -> list[tuple[Path, int]]:
    """Every image of a part with its class, in alphabetical order."""
    loose = [(path, 0) for path in _images(part)]
    found = [(path, k) for k, name in enumerate(names) for path in _images(part / name, _ALL)]
    if not loose + found:
        raise LabError(
            f"{part} holds no images. Name the folder by --data.root or --data.folder; it may "
            f"hold files that end in {', '.join(sorted(SUFFIXES))}."
        )
    strange = [part / name for name in _classes(part) if name not in names]
    strange += [path for path, _ in loose] if names else []
    if strange:
        raise LabError(
            f"{strange[0]} belongs to no class: where train has classes, each image must lie in "
            "the folder of one of them."
        )
    return loose + found


def _classes(part: Path) -> tuple[str, ...]:
    folders = sorted(p for p in part.glob("[!.]*") if p.is_dir())
    return tuple(p.name for p in folders if any(_files(p, _ALL)))


def _images(part: Path, pattern: str = "*") -> list[Path]:
    return sorted(_files(part, pattern))


def _files(part: Path, pattern: str) -> Iterator[Path]:
    # Beneath a hidden folder lie copies, of which one might be trained on and the other tested.
    return (
        path
        for path in part.glob(pattern)
        if path.suffix.lower() in SUFFIXES
        and not any(name.startswith(".") for name in path.relative_to(part).parts)
        and path.is_file()
    )
