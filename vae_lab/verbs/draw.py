"""Pictures of a trained model."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vae_lab.runs import expand, names_of
from vae_lab.verbs.options import above_zero, at_least
from vae_lab.verbs.picture import Split, each, named_pictures, picture, save

__all__ = [
    "complete",
    "denoise",
    "filters",
    "interpolate",
    "manifold",
    "reconstruct",
    "sample",
    "transfer",
    "traverse",
]


def sample(
    runs: list[str],
    n: int | None = None,
    y: str | None = None,
    seed: int = 0,
    output: str = "sample.png",
) -> None:
    """Draw new images, those of several runs side by side.

    Args:
        runs: Run folders or checkpoints; of experiments' folders, the newest runs; or patterns of
            these.
        n: Number of images, by default 64; with `--y all`, number per class, by default 10.
        y: Name or number of the class to draw; `all` draws one row per class, or per value of the
            first six attributes, with the same noise in each column.
        seed: Seed of the images.
        output: PNG to write.
    """
    from vae_lab.pictures import WIDTH, beside

    at_least(1, n=n)
    kind: str = "class_rows,attribute_rows" if y == "all" else "samples"
    options: dict[str, Any] = {"seed": seed} if y == "all" else {"seed": seed, "label": y}
    options["n"] = n if n is not None else 10 if y == "all" else 64
    if len(runs) == 1:
        save(picture(kind, runs[0], **options), output)
        return
    options["width"] = max(WIDTH // 4, 2 * WIDTH // len(runs))
    save(beside(named_pictures(kind, runs, **options)), output)


def transfer(run: str, n: int = 8, split: Split = "val", output: str = "transfer.png") -> None:
    """Draw images with their style under every class, or with the first six attributes varied.

    Args:
        run: Run folder or checkpoint; of an experiment's folder, the newest run.
        n: Number of images.
        split: Split of the images.
        output: PNG to write.
    """
    at_least(1, n=n)
    # The range of an attribute is estimated from many images.
    save(picture("transfer,attribute_walks", run, (split, max(n, 1000)), n=n), output)


def complete(
    run: str,
    n: int = 10,
    draws: int = 5,
    split: Split = "val",
    seed: int = 0,
    output: str = "complete.png",
) -> None:
    """Draw images, the part of each that is given to the model, and its completions.

    Args:
        run: Run folder or checkpoint; of an experiment's folder, the newest run.
        n: Number of images.
        draws: Number of completions per image.
        split: Split of the images.
        seed: Seed of the images.
        output: PNG to write.
    """
    at_least(1, n=n, draws=draws)
    save(picture("completions", run, (split, n), n=n, draws=draws, seed=seed), output)


def reconstruct(
    run: str, n: int = 20, split: Split = "val", output: str = "reconstruct.png"
) -> None:
    """Draw images above their reconstructions.

    Args:
        run: Run folder or checkpoint; of an experiment's folder, the newest run.
        n: Number of images.
        split: Split of the images.
        output: PNG to write.
    """
    at_least(1, n=n)
    save(picture("reconstructions", run, (split, n), n=n), output)


def denoise(
    run: str, n: int = 20, split: Split = "val", seed: int = 0, output: str = "denoise.png"
) -> None:
    """Draw images, corrupted as in training, and restored by a denoising model.

    Args:
        run: Run folder or checkpoint; of an experiment's folder, the newest run.
        n: Number of images.
        split: Split of the images.
        seed: Seed of the corruption.
        output: PNG to write.
    """
    at_least(1, n=n)
    save(picture("restorations", run, (split, n), n=n, seed=seed), output)


def filters(runs: list[str], output: str = "filters.png") -> None:
    """Draw the first-layer filters of each encoder, runs below one another.

    Args:
        runs: Run folders, experiment folders (all their versions), a folder of experiments,
            patterns of those, or checkpoints.
        output: PNG to write.
    """
    from vae_lab.pictures import stacked

    save(stacked(named_pictures("filters", [*_spelled(runs)])), output)


def _spelled(words: Iterable[str]) -> Iterator[str]:
    """Yield each run, and each checkpoint by itself."""
    for word in words:
        yield from [word] if Path(word).is_file() else (str(run.path) for run in expand([word]))


def traverse(
    runs: list[str],
    image: int = 0,
    span: float | None = None,
    steps: int = 11,
    rows: int = 12,
    output: str = "traverse.png",
) -> None:
    """Draw an image's code moved along one latent dimension at a time, runs side by side.

    Without an encoder, the model's own codes are varied.

    Args:
        runs: Run folders or checkpoints; of experiments' folders, the newest runs; or patterns of
            these.
        image: Index of the validation image to start from; without an encoder, the seed of the
            initial code.
        span: Largest distance from zero; by default 3 for a standard normal prior, 2 without an
            encoder, else the 1st to 99th percentiles of the codes. An InfoGAN's codes have their
            own range and number of steps.
        steps: Images per row.
        rows: Number of dimensions to draw, those with the largest variance over images.
        output: PNG to write.
    """
    from vae_lab.pictures import beside, captioned

    images: tuple[Split, int] = ("val", max(1000, image + 1))
    at_least(0, image=image)
    at_least(1, steps=steps, rows=rows)
    above_zero(span=span)
    options = {"image": image, "span": span, "steps": steps, "rows": rows}
    drawn = each(runs, lambda run: picture("traversals,sweeps", run, images, **options))
    if len(runs) > 1:
        drawn = [captioned(d, name) for d, name in zip(drawn, names_of(runs), strict=True)]
    save(beside(drawn) if len(runs) > 1 else drawn[0], output)


def interpolate(
    run: str,
    pairs: int = 8,
    steps: int = 11,
    split: Split = "val",
    output: str = "interpolate.png",
) -> None:
    """Draw linear interpolations between the codes of two images.

    Without an encoder, the codes are found by gradients through the decoder.

    Args:
        run: Run folder or checkpoint; of an experiment's folder, the newest run.
        pairs: Number of interpolations.
        steps: Images per interpolation.
        split: Split of the images.
        output: PNG to write.
    """
    at_least(1, pairs=pairs, steps=steps)
    images = split, 2 * pairs
    drawn = picture("interpolation,inverted_walks", run, images, pairs=pairs, steps=steps)
    save(drawn, output)


def manifold(run: str, side: int = 20, output: str = "manifold.png") -> None:
    """Draw decoded images over the plane of a two-dimensional code.

    Args:
        run: Run folder or checkpoint; of an experiment's folder, the newest run.
        side: Images along each side.
        output: PNG to write.
    """
    at_least(1, side=side)
    save(picture("manifold", run, side=side), output)
