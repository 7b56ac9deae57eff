"""Whole sets of 8-bit images: what is done to them once, before training."""

import os
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae_lab.contracts import Shape
from vae_lab.data.pixels import draw, generator, prepare
from vae_lab.errors import LabError
from vae_lab.files import user_cache

__all__ = [
    "Split",
    "cache_folder",
    "cut",
    "divide",
    "draw_evenly",
    "drawn",
    "fits",
    "has_room",
    "prepared",
    "rebuild",
    "reserve",
]

CHUNK = 1024  # images per chunk: little memory, and few calls


class Split(NamedTuple):
    """A subset of resident images; several splits may share one tensor.

    Attributes:
        images: 8-bit images, shape (N, C, H, W).
        labels: Class indices (N,) or attributes (N, A).
        rows: Indices of the split's images, in order, shape (n,).
    """

    images: Tensor
    labels: Tensor
    rows: Tensor

    def first(self, n: int | None) -> "Split":
        """Return the first `n` images of the split, or all of them."""
        return self._replace(rows=self.rows[:n])

    def to(self, device: torch.device) -> "Split":
        """Copy the split's own images to `device`."""
        images, labels = (t.index_select(0, self.rows) for t in (self.images, self.labels))
        rows = torch.arange(len(images), device=device)
        return Split(images.to(device), labels.to(device), rows)


def cut(n: int, held_out: int, seed: int) -> tuple[Tensor, Tensor]:
    """Split `n` rows at random into those kept and `held_out` others.

    The order stays random, so that the first images show all classes even if the source is sorted.
    """
    order = torch.randperm(n, generator=generator(seed))
    return order[held_out:], order[:held_out]


def draw_evenly(labels: Tensor, n: int, seed: int) -> Tensor:
    """Draw `n` rows at random, equally many per class; a remainder goes to random classes.

    With one seed, a larger draw without a remainder contains the smaller ones.

    Args:
        labels: Class indices, shape (N,).
        n: Number of rows.
        seed: Seed of the draw.

    Raises:
        LabError: If labels are not class indices, or a class has too few images.
    """
    if labels.ndim != 1 or labels.is_floating_point():
        raise LabError("limit_seed draws as many images of each class, but these have no class.")
    stream = generator(seed)
    order = torch.randperm(len(labels), generator=stream)
    drawn = labels[order]
    classes, counts = torch.unique(drawn, return_counts=True)
    each, rest = divmod(n, len(classes))
    larger = (counts > each).nonzero().flatten()
    if counts.min() < each or len(larger) < rest:
        rarest = int(classes[counts.argmin()])
        raise LabError(
            f"{n} images, as many of each of {len(classes)} classes, are more than there are: "
            f"class {rarest} has {int(counts.min())}. Lower limit."
        )
    counts.fill_(each)
    counts[larger[torch.randperm(len(larger), generator=stream)[:rest]]] += 1
    places = [(drawn == c).nonzero().flatten()[:k] for c, k in zip(classes, counts, strict=True)]
    # In random order, so that the first images show several classes.
    return order[torch.cat(places).sort().values]


def divide(
    whole: Split, held_out: int, seed: int, limit: int | None, limit_seed: int | None = None
) -> dict[str, Split]:
    """Split training images into "train", at most `limit`, and "val", if any.

    Those of "train" are the first ones or, with `limit_seed`, drawn evenly from all classes.

    Raises:
        LabError: If `held_out` or `limit` exceeds the number of images.
    """
    if held_out >= (n := len(whole.rows)):
        raise LabError(f"val_size is {held_out}, but there are only {n} images to cut it from.")
    train, val = cut(n, held_out, seed)
    if limit is not None and limit > len(train):
        raise LabError(f"limit is {limit}, but there are only {len(train)} training images.")
    if limit is not None and limit_seed is not None:
        train = train[draw_evenly(whole.labels[train], limit, limit_seed)]
    parts = {"train": whole._replace(rows=train[:limit]), "val": whole._replace(rows=val)}
    return {name: part for name, part in parts.items() if len(part.rows)}


def rebuild(split: Split, shape: Shape, change: Callable[[Tensor], Tensor], cache: Path) -> Tensor:
    """Apply `change` to every image of the split, a chunk at a time, shape (n, *shape)."""
    out = _empty((len(split.rows), *shape), cache)
    for start in range(0, len(out), CHUNK):
        chunk = split.images.index_select(0, split.rows[start : start + CHUNK])
        out[start : start + CHUNK] = change(chunk.cpu())
    return out


def prepared(
    split: Split, shape: Shape, size: tuple[int, int], border: int, threshold: bool, cache: Path
) -> Split:
    """Change channels, scale, add a border and threshold in one pass, as far as necessary."""
    wanted = (shape[0], *size)
    if tuple(split.images.shape[1:]) == wanted and not (border or threshold):
        return split
    change = partial(prepare, channels=shape[0], size=size, border=border, threshold=threshold)
    return split._replace(images=rebuild(split, shape, change, cache))


def drawn(split: Split, stream: torch.Generator, cache: Path) -> Split:
    """Binarise the split's images once, from the given random stream."""
    shape = (split.images.shape[1], split.images.shape[2], split.images.shape[3])
    images = rebuild(split, shape, lambda pixels: draw(pixels, stream) * 255, cache)
    labels = split.labels.index_select(0, split.rows).cpu()
    return Split(images, labels, torch.arange(len(images)))


def fits(nbytes: int) -> bool:
    """Return whether `nbytes` are at most half of the memory available now."""
    return nbytes <= _available_memory() // 2


def has_room(device: torch.device, split: Split) -> bool:
    """Return whether the split's images need at most half of a GPU's free memory."""
    nbytes = len(split.rows) * split.images[0].nbytes
    return nbytes <= torch.cuda.mem_get_info(device)[0] // 2


def _empty(shape: Iterable[int], cache: Path) -> Tensor:
    """Allocate 8-bit images in memory or, if they do not fit, in an unnamed file."""
    size = tuple(shape)
    if fits(int(np.prod(size))):
        return torch.empty(size, dtype=torch.uint8)
    with tempfile.TemporaryFile(dir=(folder := cache_folder(cache))) as file:
        reserve(file.fileno(), int(np.prod(size)), folder)
        return torch.from_numpy(np.memmap(file, np.uint8, "r+", shape=size))


def reserve(descriptor: int, nbytes: int, folder: Path) -> None:
    """Allocate disk space for a file; writing to a memory map without it kills the process.

    Raises:
        LabError: If there is too little.
    """
    try:
        os.posix_fallocate(descriptor, 0, nbytes)
    except AttributeError:  # not Linux
        os.truncate(descriptor, nbytes)
    except OSError as error:
        raise LabError(
            f"The images take {nbytes / 1e9:.1f} GB, for which {folder} has no room "
            f"({error.strerror}). Lower resize, or make some."
        ) from error


def _available_memory() -> int:
    try:
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):  # Not Linux, which alone counts it.
        return _physical_memory() // 2


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # Windows: a guess; too low a one only costs speed.
        return 16 * 2**30


def cache_folder(root: Path) -> Path:
    """Return `root/.cache`, or the user's cache folder if that is not writable."""
    folder = root / ".cache"
    if not os.access(folder if folder.exists() else root, os.W_OK):
        folder = user_cache()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
