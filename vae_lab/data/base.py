"""Base of all data modules: preparation, splits, binarisation, batches."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from copy import copy
from functools import partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict, get_args

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor

from vae_lab.arguments import at_least, given, one_of
from vae_lab.contracts import Batch, Shape
from vae_lab.data.arguments import readable, sides, together, trainable
from vae_lab.data.loader import Batches
from vae_lab.data.pixels import generator, prepare
from vae_lab.data.quadrants import quadrants as shown
from vae_lab.data.store import Split, divide, drawn, has_room, prepared
from vae_lab.described import Described, said
from vae_lab.errors import LabError
from vae_lab.files import expanded
from vae_lab.image_files import open_image, read_images

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Binarize", "ImageData"]

Binarize = Literal["none", "threshold", "static", "dynamic"]
SPLITS = ("train", "val", "test")


class ImageData(Described, LightningDataModule, ABC):
    """Images held as one 8-bit tensor; a batch is taken by one index operation.

    A source defines its native shape and its classes, and reads its images in `read`. The test
    images are the source's own; the validation images are its own or split off from train with
    `split_seed`, whatever the run's seed. Without a trainer all is on the CPU of one process.

    Args:
        root: Folder of the data sets; by default $VAE_LAB_DATA, else `data`.
        batch_size: Training images per batch on each process.
        eval_batch_size: Images per batch in validation and test.
        val_size: Images split off from train for validation; by default the source's usual share.
        split_seed: Seed of the train/validation split and of binarisations that are drawn once.
        binarize: `none` keeps grey; `threshold` rounds at one half; `static` samples every pixel
            once with its grey level as probability; `dynamic` samples training images anew every
            epoch, validation and test images once.
        channels: 1 turns colour into grey, 3 repeats grey; by default the source's own.
        resize: Height and width to scale to, or one number for a square; may change proportions.
        pad: Black pixels added on each side, after scaling.
        shift: Largest random shift of training images along both axes in pixels, anew every epoch.
        quadrants: Use 1, 2 or 3 quadrants of a binarised image as its condition y, not its label.
        limit: Number of training images to use, the first ones.
        limit_seed: Sample the `limit` images at random with this seed, equally many per class.

    Raises:
        LabError: If an argument is out of range.
    """

    native: ClassVar[Shape]
    classes: ClassVar[tuple[str, ...]] = ()
    val_share: ClassVar[float] = 0.1
    places: ClassVar[tuple[str, ...]] = ()
    """Names of a source's arguments that are locations, and do not affect its images."""

    def __init__(
        self,
        root: str | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 1000,
        val_size: int | None = None,
        split_seed: int = 0,
        binarize: Binarize = "none",
        channels: int | None = None,
        resize: int | tuple[int, int] | None = None,
        pad: int = 0,
        shift: int = 0,
        quadrants: int | None = None,
        limit: int | None = None,
        limit_seed: int | None = None,
    ) -> None:
        super().__init__()
        self.note_settings()
        if root:  # The checkpoint may be read from another working directory.
            self.hparams["root"] = str(expanded(root).absolute())
        self.root = expanded(root or os.environ.get("VAE_LAB_DATA") or "data")
        at_least(1, batch_size=batch_size, eval_batch_size=eval_batch_size, **given(limit=limit))
        at_least(0, split_seed=split_seed, **given(val_size=val_size, limit_seed=limit_seed))
        at_least(0, pad=pad, shift=shift)
        one_of(get_args(Binarize), binarize=binarize)
        one_of((None, 1, 3), channels=channels)
        one_of((None, 1, 2, 3), quadrants=quadrants)
        together(binarize, quadrants, limit, limit_seed)
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.val_size, self.split_seed = val_size, split_seed
        self.binarize, self.channels = binarize, channels
        self.resize, self.pad, self.shift = sides(resize), pad, shift
        self.quadrants, self.limit, self.limit_seed = quadrants, limit, limit_seed
        self._given = partial(shown, known=quadrants) if quadrants else None  # makes y of x
        self._splits: dict[str, Split] = {}

    @abstractmethod
    def read(self, split: str) -> tuple[Tensor, Tensor]:
        """Read "train" or "test" (or "val", if `own_validation`), downloading it if necessary.

        Returns:
            8-bit images, shape (N, C, H, W), and labels, shape (N,) or (N, A).

        Raises:
            LabError: If the files are missing or damaged.
        """

    @property
    def own_validation(self) -> bool:
        """Whether the source has its own validation images."""
        return False

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes or attributes."""
        return self.classes

    @property
    def num_classes(self) -> int | None:
        """The number of classes, if labels are class indices."""
        return len(self.label_names) or None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width after scaling and before padding."""
        return self.resize or self.native[1:]

    @property
    def shape(self) -> Shape:
        """Channels, height and width of a batch's images, known before a download."""
        height, width = self.size
        return (self.channels or self.native[0], height + 2 * self.pad, width + 2 * self.pad)

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits that hold images."""
        return tuple(name for name in SPLITS if name != "val" or self.val_size != 0)

    def split(self, name: str) -> Split:
        """Return the 8-bit images of "train", "val" or "test", read at the first call.

        With `dynamic`, those of "train" are still grey.

        Raises:
            LabError: If there is no such split, or the data cannot be read or split.
        """
        if name not in SPLITS:
            raise LabError(f"There is no split {name!r}; choose from {', '.join(SPLITS)}.")
        if name == "val" and self.val_size == 0:
            raise LabError("There are no validation images: val_size is 0.")
        if name not in self._splits:
            self._splits |= self._build(name)
        return self._splits[name]

    def loader(self, name: str, n: int | None = None) -> Batches:
        """Iterate over a split, or its first `n` images, in a fixed order.

        Binarised images are sampled once, so that all passes and all models see the same.
        """
        share = _share(self.trainer)
        return Batches(self._fixed(name, n), self.eval_batch_size, given=self._given, **share)

    def images(self, name: str, n: int | None = None) -> Batch:
        """Return the first `n` images of a split, or all if there are fewer, as `loader` does."""
        split = self._fixed(name, n)
        return next(iter(Batches(split, len(split.rows), given=self._given)))

    def protocol(self, name: str) -> dict[str, Any]:
        """Return which images a number was measured on, with settings that are not the default."""
        return {
            "data": type(self).__name__,
            "split": name,
            "images": len(self.split(name).rows),
            "shape": list(self.shape),
            "binarize": "static-own" if self.binarize == "static" else self.binarize,
            "split_seed": self.split_seed,
            **_special(self),
        }

    def open_file(self, path: Path) -> "Image":
        """Open an image file in the source's native format, before preparation."""
        return open_image(path, self.native[0], self.native[1:])

    def from_files(self, files: Sequence[Path]) -> Tensor:
        """Read image files and prepare them like the data, shape (N, C, H, W), in [0, 1]."""
        pixels = read_images(files, self.open_file)
        threshold = self.binarize == "threshold"
        return prepare(pixels, self.shape[0], self.size, self.pad, threshold) / 255

    def undrawn(self) -> "ImageData":
        """Return the same data with grey pixels where `static` or `dynamic` would sample them."""
        if self.binarize not in ("static", "dynamic"):
            return self
        grey = copy(self)
        grey.binarize, grey._splits = "none", {}
        return grey

    def prepare_data(self) -> None:
        """Download the data on one process, before the others read it."""
        self.split("train")

    def setup(self, stage: str) -> None:
        """Read the splits of a stage; for training, check the settings by `trainable`."""
        if stage != "fit":
            self.split("val" if stage == "validate" else "test")
            return
        images, world = len(self.split("train").rows), _share(self.trainer)["world"]
        trainable(images, self.batch_size, world, self.shift, self.shape)

    def train_dataloader(self) -> Batches:
        """Return this process's share of the training batches, shuffled."""
        return Batches(
            self._placed("train"),
            self.batch_size,
            shuffle=not getattr(self.trainer, "overfit_batches", 0),
            dynamic=self.binarize == "dynamic",
            shift=self.shift,
            seed=int(os.environ.get("PL_GLOBAL_SEED", 0)),
            given=self._given,
            # Not the epoch that Lightning gives to samplers, which is ahead after some restarts.
            clock=partial(getattr, self.trainer, "current_epoch") if self.trainer else None,
            **_share(self.trainer),
        )

    def val_dataloader(self) -> Batches | list[Batches]:
        """Return the validation batches, or none if there are no validation images."""
        return [] if self.val_size == 0 else self.loader("val")

    def test_dataloader(self) -> Batches:
        """Return the test batches."""
        return self.loader("test")

    predict_dataloader = test_dataloader

    def _build(self, name: str) -> dict[str, Split]:
        """Read the file that contains split `name`, and return all splits in it."""
        apart = self.own_validation and self.val_size is None  # not split off from train
        source = name if name == "test" or apart else "train"
        images, labels = self.read(source)
        readable(images, labels, self)
        whole = prepared(
            Split(images, labels, torch.arange(len(images))),
            self.shape,
            self.size,
            border=self.pad,
            threshold=self.binarize == "threshold",
            cache=self.root,
        )
        parts = self._divided(whole, apart) if source == "train" else {name: whole}
        once = {"static": SPLITS, "dynamic": ("val", "test")}.get(self.binarize, ())
        return {key: self._drawn(key, p) if key in once else p for key, p in parts.items()}

    def _divided(self, whole: Split, apart: bool) -> dict[str, Split]:
        """Split training images into train and, unless that is `apart`, validation."""
        size = self.val_size
        if size is None:
            size = 0 if apart else max(1, round(len(whole.rows) * self.val_share))
        return divide(whole, size, self.split_seed, self.limit, self.limit_seed)

    def _drawn(self, name: str, split: Split) -> Split:
        """Binarise the split's images once, with a random stream of its own."""
        return drawn(split, generator(self.split_seed, SPLITS.index(name)), self.root)

    def _fixed(self, name: str, n: int | None) -> Split:
        split = self._placed(name).first(n)
        return self._drawn(name, split) if (name, self.binarize) == ("train", "dynamic") else split

    def _placed(self, name: str) -> Split:
        """Return the split, moved to the trainer's GPU if there is one with enough memory."""
        split = self.split(name)
        device = self.trainer.strategy.root_device if self.trainer else split.images.device
        if device.type == "cuda" and split.images.device != device and has_room(device, split):
            self._splits[name] = split = split.to(device)
        return split


def _special(data: ImageData) -> dict[str, Any]:
    """Return the settings of the images that are not the default or specific to a source."""
    found: dict[str, Any] = {"shift": data.shift or None, "quadrants": data.quadrants}
    found |= {"limit": data.limit, "limit_seed": data.limit_seed, "val_size": data.val_size}
    found |= {"resize": data.resize and list(data.resize), "pad": data.pad or None}
    found["own"] = ", ".join(f"{name} {value}" for name, value in _own(data)) or None
    return {key: value for key, value in found.items() if value is not None}


def _own(data: ImageData) -> Iterator[tuple[str, Any]]:
    """Yield a source's own arguments, which its images depend on, beyond those of all sources."""
    kinds = (kind for kind in reversed(type(data).__mro__) if issubclass(kind, ImageData))
    takes = [p for kind in kinds for p in signature(kind.__init__).parameters.values()]
    # Built in Python, a data module stores what it was given, but no defaults of its parents.
    told = {p.name: p.default for p in takes if p.default is not p.empty}
    shared = (*signature(ImageData.__init__).parameters, *data.places)
    for name, value in sorted({**told, **data.hparams}.items()):
        if name not in shared and name[0] != "_":
            yield name, said(value)


class _Share(TypedDict):
    rank: int
    world: int


def _share(trainer: Trainer | None) -> _Share:
    """Return this process's rank and the number of processes."""
    if trainer is None:
        return {"rank": 0, "world": 1}
    return {"rank": trainer.global_rank, "world": trainer.world_size}
