"""Data set of a folder of image files."""

import hashlib
import os
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vae_lab.data.base import ImageData
from vae_lab.data.decode import decode
from vae_lab.data.store import cut
from vae_lab.errors import LabError
from vae_lab.files import expanded, in_bytes
from vae_lab.image_files import open_image, opened

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ImageFolder"]

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
TEST_SHARE = 0.1


class ImageFolder(ImageData):
    """The image files of a folder, whose subfolders, if any, are the classes.

    If the folder contains `train`, it is used with `test` and `val` beside it, where these exist.
    Missing splits are taken from train: a tenth for test, a tenth of the rest for validation. Test
    images are chosen by their names, so that they stay the same when a file comes or goes. Images
    are decoded once and cached, in colour unless `channels` is 1, transparent pixels as white.
    `resize` scales to fill the size and crops the rest; it may be left out if all images have one
    size.

    Args:
        root: Folder of the data sets; by default $VAE_LAB_DATA, else `data`.
        folder: The folder, relative to `root` or absolute; leave it out if it is `root`.
        **kwargs: Arguments of every source.
    """

    native = (3, 0, 0)
    places = ("folder",)  # the listing identifies the images

    def __init__(self, root: str | None = None, *, folder: str = ".", **kwargs: Any) -> None:
        if root is None and folder == ".":
            raise LabError("Which folder? Name it by --data.root or --data.folder.")
        super().__init__(root, **kwargs)
        self.path = self.root / expanded(folder)

    @property
    def own_validation(self) -> bool:
        """Whether there is a `val` folder beside `train`."""
        return self._part("val") != self._part("train")

    @cached_property
    def label_names(self) -> tuple[str, ...]:
        """The subfolders' names in alphabetical order; empty for a flat folder."""
        return _classes(self._part("train"))

    @cached_property
    def size(self) -> tuple[int, int]:
        """The height and width of `resize`, else those of the first image."""
        if self.resize:
            return self.resize
        path, _ = _listed(self._part("train"), self.label_names)[0]
        return opened(path, lambda path: open_image(path, channels=1)).size[::-1]

    @cached_property
    def listing(self) -> str | None:
        """Digest of the files' names and sizes, which identifies the folder's content."""
        files = _images(self.path)
        names = (f"{path.relative_to(self.path)}|{path.stat().st_size}\n" for path in files)
        return hashlib.sha256(in_bytes("".join(names))).hexdigest()[:12] if files else None

    def protocol(self, name: str) -> dict[str, Any]:
        """Return which images a number was measured on, with the digest of their files."""
        return super().protocol(name) | {"listing": self.listing}

    def prepare_data(self) -> None:
        """Read the test images too, to find a damaged one before training."""
        super().prepare_data()
        self.split("test")

    def open_file(self, path: Path) -> "Image":
        """Open an image file, scaled to fill the size and cropped."""
        return open_image(path, self.shape[0], self.size)

    def read(self, split: str) -> tuple[Tensor, Tensor]:
        """Decode the images of a split, or read them from the cache."""
        files = self._chosen(split)
        opener = partial(open_image, channels=self.shape[0], size=self.resize)
        shape = (self.shape[0], *self.size)
        recipe = "fill, on white" if self.resize else "as is, on white"
        images = decode([path for path, _ in files], shape, opener, self.path, recipe)
        return images, torch.tensor([label for _, label in files])

    def _chosen(self, split: str) -> list[tuple[Path, int]]:
        """Return a split's files and their classes, in an order that mixes the classes."""
        files = _listed(self._part(split), self.label_names)
        if split == "val" or self._part("test") != self._part("train"):
            return [files[k] for k in cut(len(files), 0, 0)[0].tolist()]
        files.sort(key=lambda file: self._lot(file[0]))
        tested = max(1, round(len(files) * TEST_SHARE))
        return files[:tested] if split == "test" else files[tested:]

    def _lot(self, path: Path) -> bytes:
        """Return a number drawn from a file's name alone, so that other files do not affect it."""
        return hashlib.sha256(in_bytes(path.relative_to(self.path).as_posix())).digest()

    def _part(self, split: str) -> Path:
        """Return the folder of a split, or that of train if there is none."""
        train, part = self.path / "train", self.path / split
        # Without `train`, a folder called `test` is a class.
        if not train.is_dir():
            return self.path
        return part if part.is_dir() else train


def _listed(part: Path, names: tuple[str, ...]) -> list[tuple[Path, int]]:
    """Return each image of a split with its class, in alphabetical order."""
    loose = [(path, 0) for path in _images(part, deep=False)]
    found = [(path, k) for k, name in enumerate(names) for path in _images(part / name)]
    if not loose + found:
        raise LabError(
            f"{part} holds no images. Name the folder by --data.root or --data.folder, or where "
            "a run's data were moved what it lies in by VAE_LAB_DATA; it may hold files that end "
            f"in {', '.join(sorted(SUFFIXES))}."
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
    return tuple(p.name for p in folders if any(_files(p)))


def _images(part: Path, deep: bool = True) -> list[Path]:
    return sorted(_files(part, deep))


def _files(part: Path, deep: bool = True) -> Iterator[Path]:
    """Yield the images of a folder and, if `deep`, of all folders below, following links."""
    seen = set[str]()  # links may form a cycle
    for folder, below, names in os.walk(part, followlinks=True):
        real = os.path.realpath(folder)
        # Hidden folders often contain copies, which would put one image into two splits.
        below[:] = [b for b in below if deep and real not in seen and not b.startswith(".")]
        shown = [] if real in seen else [Path(folder, n) for n in names if not n.startswith(".")]
        yield from (path for path in shown if path.suffix.lower() in SUFFIXES and path.is_file())
        seen.add(real)
