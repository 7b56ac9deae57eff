"""Decode image files to one 8-bit array, once, in parallel, with a cache."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae_lab.contracts import Shape
from vae_lab.data.store import cache_folder, reserve
from vae_lab.errors import LabError
from vae_lab.files import in_bytes
from vae_lab.image_files import Open, opened
from vae_lab.locks import locked

__all__ = ["decode"]

CHUNK = 64  # images per task


def decode(files: Sequence[Path], shape: Shape, opener: Open, root: Path, recipe: str) -> Tensor:
    """Return the images of `files`, shape (N, *shape), from the cache if they are there.

    They are memory-mapped, so that the system keeps in memory what fits.

    Args:
        files: The image files.
        shape: Channels, height and width of the images that `opener` returns.
        opener: Reads one file.
        root: Folder of the cache, if it is writable.
        recipe: Describes `opener`; part of the cache's key, like the files' names, sizes and
            modification times.

    Raises:
        LabError: If a file cannot be read or has another shape.
    """
    cache = cache_folder(root) / f"{_key(files, shape, recipe)}.npy"
    # One process decodes; others that need the same files wait.
    with nullcontext() if cache.exists() else locked(cache.parent, wait=True):
        if not cache.exists():
            _write(cache, files, shape, opener)
    # Memory-mapped, so that processes of one machine share the memory.
    return torch.from_numpy(np.load(cache, mmap_mode="c"))


def _key(files: Sequence[Path], shape: Shape, recipe: str) -> str:
    digest = hashlib.sha256(repr((shape, recipe)).encode())
    for path in files:
        try:
            status = path.stat()
        except OSError as error:
            raise LabError(f"{path} cannot be read: {error.strerror}.") from error
        digest.update(in_bytes(f"{path.absolute()}|{status.st_size}|{status.st_mtime_ns}\n"))
    return digest.hexdigest()[:32]


def _write(cache: Path, files: Sequence[Path], shape: Shape, opener: Open) -> None:
    """Decode to a temporary file, so that the cache is complete or absent."""
    # A killed process may have left a file, which is overwritten.
    part = cache.with_suffix(".part")
    try:
        out = np.lib.format.open_memmap(part, "w+", np.uint8, (len(files), *shape))
        with part.open("r+b") as file:
            reserve(file.fileno(), part.stat().st_size, cache.parent)
        _decode(files, out, opener)
        out.flush()
        os.replace(part, cache)
    finally:
        part.unlink(missing_ok=True)


def _decode(files: Sequence[Path], out: "np.ndarray[Any, Any]", opener: Open) -> None:
    from tqdm import tqdm

    def task(start: int) -> int:
        for k in range(start, min(start + CHUNK, len(files))):
            out[k] = _pixels(files[k], out.shape[1:], opener)
        return min(CHUNK, len(files) - start)

    # Threads suffice: PIL's decoders release the interpreter's lock.
    bar = tqdm(total=len(files), desc="Decoding", unit=" images", mininterval=0.5, leave=False)
    with bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        tasks = [pool.submit(task, start) for start in range(0, len(files), CHUNK)]
        try:
            for done in tasks:
                bar.update(done.result())
        finally:
            pool.shutdown(cancel_futures=True)


def _pixels(path: Path, shape: tuple[int, ...], opener: Open) -> "np.ndarray[Any, Any]":
    image = opened(path, opener)
    height, width = shape[1:]
    if image.size != (width, height):
        raise LabError(
            f"{path} is {image.height} x {image.width} pixels, where {height} x {width} are "
            "expected. Set resize to bring all images to one size."
        )
    return np.asarray(image).reshape(height, width, -1).transpose(2, 0, 1)
