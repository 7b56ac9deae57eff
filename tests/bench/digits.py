"""The images: real MNIST where it lies, else scikit-learn's digits written in its format."""

import os
from pathlib import Path

__all__ = ["find_root"]

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
SIZES = {"train": 60_000, "t10k": 10_000}


def find_root(scratch: Path) -> tuple[str, str]:
    """Return the folder with the MNIST files, and what they are."""
    known = Path(os.environ.get("VAE_LAB_DATA") or "data").expanduser().resolve()
    if all((known / "MNIST/raw" / name).exists() for name in FILES):
        return str(known), "MNIST"
    _write_digits(scratch / "MNIST/raw")
    return str(scratch), "scikit-learn's digits, enlarged to 28 x 28 and repeated (no MNIST here)"


def _write_digits(folder: Path) -> None:
    import torch
    from sklearn.datasets import load_digits
    from torchvision.transforms.v2.functional import resize

    digits = load_digits()
    small = torch.as_tensor(digits.images * 255 / 16).round().byte().unsqueeze(1)
    large = resize(small, [28, 28], antialias=True)
    folder.mkdir(parents=True, exist_ok=True)
    for name, size in SIZES.items():
        rows = torch.arange(size) % len(large)
        _write(folder / f"{name}-images-idx3-ubyte", large[rows, 0].numpy().tobytes(), size, 28, 28)
        labels = torch.as_tensor(digits.target).byte()[rows]
        _write(folder / f"{name}-labels-idx1-ubyte", labels.numpy().tobytes(), size)


def _write(path: Path, values: bytes, *shape: int) -> None:
    """Write bytes in the IDX format: type and number of axes, then their lengths, then values."""
    head = [0x0800 + len(shape), *shape]
    path.write_bytes(b"".join(n.to_bytes(4, "big") for n in head) + values)
