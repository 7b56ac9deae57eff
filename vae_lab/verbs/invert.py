"""`lab invert`: the code behind an image, found by gradients through a decoder."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_lab.errors import LabError
from vae_lab.verbs.picture import Split, positive, save

if TYPE_CHECKING:
    from torch import Tensor

    from vae_lab.contracts import Batch
    from vae_lab.metrics.inversion import Search

__all__ = ["invert"]


def invert(
    run: str,
    images: list[str] | None = None,
    data: int | None = None,
    split: Split = "test",
    y: int | None = None,
    steps: int = 300,
    restarts: int = 4,
    penalty: float = 0.01,
    seed: int = 0,
    codes: str = "inverse.npz",
    output: str = "invert.png",
) -> None:
    """Find codes of images by gradients through a decoder, beside what an encoder says.

    As many samples of the model itself are inverted too: of those an exact code exists.

    Args:
        run: Run folder or checkpoint.
        images: Files to invert.
        data: How many of the run's own images to invert, by default 20.
        split: Where those come from.
        y: The class to decode under; by default that of each image.
        steps: Steps of Adam.
        restarts: Codes to start from for each image; the best end is kept.
        penalty: Weight of -log p(z) beside the squared error.
        seed: Fixes starts and samples.
        codes: File to write `codes` (N, D), `squared_error` (N,) and `labels` to; where there is
            an encoder, `encoder_codes` and `encoder_squared_error` too.
        output: PNG to write.

    Raises:
        LabError: If the run or a file cannot be read, the model's codes cannot be found by
            gradients, or an option is out of its range.
    """
    from vae_lab import pictures
    from vae_lab.contracts import Batch, Encodes
    from vae_lab.files import digest
    from vae_lab.metrics.inversion import Search, check_invertible, decoded, draw_codes
    from vae_lab.metrics.measures import encode
    from vae_lab.runs import checkpoint_of, load_model

    if Path(codes) == Path(output):
        raise LabError("--codes and --output are two files.")
    how = Search(positive("steps", steps), positive("restarts", restarts), penalty)
    known = digest(checkpoint_of(run))
    model: Any = load_model(run)
    check_invertible(model, "`lab invert`")
    targets, about = _targets(model, run, images, data, split, y)
    # Other starts than the search's: from there it would find nothing but what it began with.
    own = Batch(decoded(model, draw_codes(model, targets, seed + 1), targets.y), targets.y)
    own_codes, found = _search(model, [own, targets], how, seed)
    answers = {"inverse": found}
    if isinstance(model, Encodes):
        answers["encoder"] = encode(model, targets)
    made = {name: decoded(model, z, targets.y) for name, z in answers.items()}
    _write(codes, targets, answers, made)
    save(pictures.inversions(targets.x, made), output)
    pairs = {
        "own samples": (own.x, decoded(model, own_codes, own.y)),
        **{f"images, {name}": (targets.x, images) for name, images in made.items()},
    }
    protocol = (
        f"{about}; {restarts} restarts, {steps} steps of Adam from {how.lr}, penalty {penalty}"
    )
    _print(pairs, f"{protocol}, seed {seed}, {type(model).__name__} {known}")


def _targets(
    model: Any, run: str, files: list[str] | None, n: int | None, split: Split, y: int | None
) -> "tuple[Batch, str]":
    """Return what to invert, with the conditions to decode under, and what it is called."""
    from vae_lab.callbacks.conditional import given_class
    from vae_lab.contracts import Batch, Conditional
    from vae_lab.runs import load_data

    if files and n is not None:
        raise LabError("Give --images or --data, not both.")
    if files:
        if isinstance(model, Conditional) and y is None:
            raise LabError(f"A {type(model).__name__} decodes under a condition: give files a --y.")
        x = _read(files, model.shape)
        found, about = Batch(x, x.new_zeros(len(x))), "files"
    else:
        own = load_data(run)
        found = own.images(split, positive("data", 20 if n is None else n))
        about = f"{split} images, binarize {own.protocol(split)['binarize']}"
    return found if y is None else found._replace(y=given_class(model, y, len(found.x))), about


def _read(files: list[str], shape: tuple[int, int, int]) -> "Tensor":
    """Read images as a model takes them, shape (N, C, H, W)."""
    from functools import partial

    import torch
    from torchvision.transforms.functional import to_tensor

    from vae_lab.image_files import open_image, opened

    opener = partial(open_image, channels=shape[0], size=(shape[1], shape[2]))
    return torch.stack([to_tensor(opened(Path(file), opener)) for file in files])


def _search(model: Any, sets: "list[Batch]", how: "Search", seed: int) -> "list[Tensor]":
    """Invert sets of images one after the other, under one bar."""
    from tqdm import tqdm

    from vae_lab.metrics.inversion import invert

    total = how.steps * sum(len(images.x) for images in sets)
    with tqdm(total=total, unit="steps", disable=None, leave=False) as bar:
        return [invert(model, images, how, seed, bar.update) for images in sets]


def _write(
    path: str, targets: "Batch", answers: "dict[str, Tensor]", made: "dict[str, Tensor]"
) -> None:
    import numpy as np

    from vae_lab.files import atomic
    from vae_lab.metrics.codes import squared_error_per_image

    arrays: dict[str, Any] = {"labels": targets.y.cpu().numpy()}
    for name, prefix in (("inverse", ""), ("encoder", "encoder_")):
        if name in answers:
            error = squared_error_per_image(targets.x.cpu(), made[name])
            arrays[f"{prefix}codes"] = answers[name].numpy()
            arrays[f"{prefix}squared_error"] = error.numpy()
    with atomic(path) as file:
        np.savez(file, **arrays)
    n, d = answers["inverse"].shape
    print(f"{path}: {n:,} codes of {d} dimensions")


def _print(pairs: "dict[str, tuple[Tensor, Tensor]]", protocol: str) -> None:
    """Print the squared errors of images and what codes make of them, by name."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from vae_lab.metrics.codes import squared_error_per_image
    from vae_lab.metrics.measures import Measure

    caption = f"squared error an image, summed over pixels; {protocol}"
    table = Table(box=SIMPLE, caption=caption, caption_justify="left")
    table.add_column("of", no_wrap=True)
    for header in ("N", "median", "mean", "± s.e.", "below 1"):
        table.add_column(header, justify="right", no_wrap=True)
    for name, (x, x_hat) in pairs.items():
        errors = squared_error_per_image(x.cpu(), x_hat)
        mean = Measure.mean(errors, "", "")
        spread = "" if mean.standard_error is None else f"{mean.standard_error:.3f}"
        share = f"{(errors < 1).float().mean():.2f}"
        # torch's median of an even number is the lower of the middle two.
        row = (f"{errors.quantile(0.5):.3f}", f"{mean.value:.3f}", spread, share)
        table.add_row(name, str(len(errors)), *row)
    Console().print(table)
