"""`lab invert`: codes of images, found by gradients through a decoder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vae_lab.errors import LabError
from vae_lab.runs import checkpoint_of, load_data, load_model, names_of
from vae_lab.verbs.bar import bar
from vae_lab.verbs.options import at_least
from vae_lab.verbs.picture import Split, check_images, check_once, each, origin, save
from vae_lab.words import article, counted

if TYPE_CHECKING:
    from torch import Tensor

    from vae_lab.contracts import Batch, Images
    from vae_lab.metrics.inversion import Search

__all__ = ["invert"]

_ERRORS = ("own", "inverse", "encoder")


class _Found(NamedTuple):
    """The inversions of one run.

    Attributes:
        who: The model's class and the digest of its weights.
        targets: The images to invert.
        codes: Their codes, from the `inverse` and, if there is one, from the `encoder`.
        made: The decoded codes.
        errors: Squared errors of the model's `own` samples, and of the targets for each of `codes`.
    """

    who: str
    targets: "Batch"
    codes: "dict[str, Tensor]"
    made: "dict[str, Tensor]"
    errors: "dict[str, Tensor]"


def invert(
    runs: list[str],
    images: list[str] | None = None,
    data: int | None = None,
    split: Split = "val",
    y: str | None = None,
    steps: int = 1000,
    restarts: int = 4,
    penalty: float = 1e-3,
    seed: int = 0,
    codes: str = "inverse.npz",
    output: str = "invert.png",
) -> None:
    """Find codes of images by gradients through decoders, and compare them with encoders' codes.

    As many samples of each model are inverted too, as these have an exact code. The table has one
    row per run: the squared errors of its own samples, of the images, and of the images with its
    encoder's codes, if it has one.

    Args:
        runs: Run folders or checkpoints; of experiments' folders, the newest runs; or patterns of
            these.
        images: Files to invert, prepared like the runs' data, but without random binarisation.
        data: Number of the runs' own images to invert, by default 20.
        split: Split of the runs' own images.
        y: Name or number of the class to decode under; by default that of each image.
        steps: Steps of Adam.
        restarts: Initial codes per image; the best result is kept.
        penalty: Weight of -log p(z), added to the squared error.
        seed: Seed of the starts and of the samples.
        codes: File for `codes` (N, D), `squared_error` (N,) and `labels`; with an encoder also
            `encoder_codes` and `encoder_squared_error`. With several runs, names are prefixed by
            the run's: `vaegan_mnist/version_0/codes`.
        output: PNG to write.

    Raises:
        LabError: If a run or a file cannot be read, a run is given twice or has other images than
            the first, its codes cannot be found by gradients, or an option is out of range.
    """
    from vae_lab.metrics.inversion import Search

    at_least(1, steps=steps, restarts=restarts, data=data)
    how = Search(steps, restarts, penalty)
    check_once(map(checkpoint_of, runs))
    names = names_of(runs)
    sources = each(runs, load_data)
    if len(runs) > 1:
        # Grey images for all runs, even if some were trained on sampled binary ones.
        sources = [source.undrawn() for source in sources]
        check_images(runs, sources, split)
    models, found, below = each(runs, _invertible), {}, []
    for run, name, source, (known, model) in zip(runs, names, sources, models, strict=True):
        targets, about = _targets(model, source, images, data, split, y)
        found[name] = _find(model, f"{type(model).__name__} {known}", targets, how, seed)
        below.append((origin(run, name), about, f"seed {seed}"))
    _write(codes, found)
    save(_picture(found, below), output)
    _say(codes, found)
    protocol = f"{len(targets.x)} {about}, as many own samples; {restarts} restarts, {steps} steps"
    _print(found, f"{protocol} of Adam from {how.lr}, penalty {penalty}, seed {seed}")


def _invertible(run: str) -> tuple[str, Any]:
    """Load a model with its weights' digest; refuse one that cannot be inverted."""
    from vae_lab.files import digest
    from vae_lab.metrics.inversion import check_invertible

    known, model = digest(checkpoint_of(run)), load_model(run)
    check_invertible(model, "`lab invert`")
    return known, model


def _find(model: Any, who: str, targets: "Batch", how: "Search", seed: int) -> _Found:
    """Find the codes of images, and of as many samples of the model."""
    from vae_lab.contracts import Batch, Encodes
    from vae_lab.metrics.codes import squared_error_per_image
    from vae_lab.metrics.inversion import decoded, draw_codes, errors
    from vae_lab.metrics.measures import encode

    # Another seed than the search's, whose starts would otherwise be the solutions.
    own = Batch(decoded(model, draw_codes(model, targets, seed + 1), targets.y), targets.y)
    own_codes, inverse = _search(model, [own, targets], how, seed)
    codes = {"inverse": inverse}
    if isinstance(model, Encodes):
        codes["encoder"] = encode(model, targets)
    made = {name: decoded(model, z, targets.y) for name, z in codes.items()}
    missed = {name: squared_error_per_image(targets.x.cpu(), x) for name, x in made.items()}
    return _Found(who, targets, codes, made, {"own": errors(model, own_codes, own), **missed})


def _targets(
    model: Any,
    source: "Images",
    files: list[str] | None,
    n: int | None,
    split: Split,
    y: str | None,
) -> "tuple[Batch, str]":
    """Return the images to invert with their conditions, and a description."""
    from vae_lab.contracts import Batch, Conditional
    from vae_lab.drawings.conditional import given_class

    if files and n is not None:
        raise LabError("Give --images or --data, not both.")
    conditional, name = isinstance(model, Conditional), type(model).__name__
    if (files or y is not None) and conditional and not model.classes:
        kind = type(model.condition).__name__
        raise LabError(f"This {name}'s condition, {kind}, comes with the data only: --data N.")
    if files:
        if conditional and y is None:
            raise LabError(f"{article(name, 'A')} decodes under a condition: give files a --y.")
        x = source.from_files([Path(file) for file in files])
        found, about = Batch.unlabelled(x), "files"
    else:
        found = source.images(split, 20 if n is None else n)
        about = f"{split} images, binarize {source.protocol(split)['binarize']}"
    if y is not None:
        labels, given = given_class(model, y, len(found.x), source.label_names)
        found, about = found._replace(y=labels), f"{about}, given {given}"
    return found, about


def _search(model: Any, sets: "list[Batch]", how: "Search", seed: int) -> "list[Tensor]":
    """Invert sets of images one after the other, with one progress bar."""
    from vae_lab.metrics.inversion import invert

    total = how.steps * sum(len(images.x) for images in sets)
    with bar(total, unit="steps") as done:
        return [invert(model, images, how, seed, done.update) for images in sets]


def _write(path: str, found: Mapping[str, _Found]) -> None:
    """Write all codes and errors, those of several runs prefixed by their names."""
    import numpy as np

    from vae_lab.files import atomic

    arrays: dict[str, Any] = {
        f"{run}/{name}" if len(found) > 1 else name: array.cpu().numpy()
        for run, one in found.items()
        for name, array in _arrays(one).items()
    }
    with atomic(path) as file:
        np.savez(file, **arrays)


def _say(path: str, found: Mapping[str, _Found]) -> None:
    for run, one in found.items():
        n, d = one.codes["inverse"].shape
        print(f"{path}: {counted(n, 'code')} of {counted(d, 'dimension')}, {run}")


def _arrays(found: _Found) -> "dict[str, Tensor]":
    arrays = {"labels": found.targets.y}
    for name, prefix in (("inverse", ""), ("encoder", "encoder_")):
        if name in found.codes:
            arrays[f"{prefix}codes"] = found.codes[name]
            arrays[f"{prefix}squared_error"] = found.errors[name]
    return arrays


def _picture(found: Mapping[str, _Found], of: Sequence[Sequence[str]]) -> "Tensor":
    """Draw targets, inverses and differences, those of several runs below one another."""
    from vae_lab import pictures

    drawn = [pictures.inversions(one.targets.x, one.made) for one in found.values()]
    return pictures.stacked([pictures.signed(d, *o) for d, o in zip(drawn, of, strict=True)])


def _print(found: Mapping[str, _Found], protocol: str) -> None:
    """Print one row per run: the squared errors of its own samples, and of the images."""
    from rich.box import SIMPLE
    from rich.table import Table

    from vae_lab.verbs.terminal import Terminal

    caption = "squared error an image, summed over pixels: median, and mean ± standard error below"
    table = Table(box=SIMPLE, caption=f"{caption}; {protocol}", caption_justify="left")
    table.add_column("run")
    for header in ("own samples", "below 1", "images", "by encoder"):
        table.add_column(header, justify="right", no_wrap=True)
    for name, one in found.items():
        share = f"{(one.errors['own'] < 1).double().mean():.2f}"
        cells = [_spread(one.errors[key]) if key in one.errors else "" for key in _ERRORS]
        # Three short lines, to fit a terminal of 80 columns.
        table.add_row("\n".join([*name.rsplit("/", 1), one.who]), cells[0], share, *cells[1:])
    Terminal().print(table)


def _spread(errors: "Tensor") -> str:
    """Format the median of errors, and below it their mean."""
    from vae_lab.metrics.measures import Measure

    mean = Measure.mean(errors, "", "")
    spread = "" if mean.standard_error is None else f" ± {mean.standard_error:.2f}"
    # torch's median of an even number is the lower of the middle two.
    return f"{errors.quantile(0.5):.3f}\n{mean.value:.2f}{spread}"
