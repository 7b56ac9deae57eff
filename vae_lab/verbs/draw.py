"""Pictures of a trained model."""

from pathlib import Path
from typing import Any, Literal

__all__ = ["interpolate", "manifold", "reconstruct", "sample", "traverse"]

Split = Literal["train", "val", "test"]


def sample(run: str, n: int = 64, seed: int = 0, output: str = "sample.png") -> None:
    """Draw new images.

    Args:
        run: Run folder or checkpoint.
        n: How many images.
        seed: The same seed draws the same images.
        output: PNG to write.
    """
    _draw("samples", run, output, n=_positive("n", n), seed=seed)


def reconstruct(
    run: str, n: int = 20, split: Split = "val", output: str = "reconstruct.png"
) -> None:
    """Draw images over what is left of them after encoding and decoding.

    Args:
        run: Run folder or checkpoint.
        n: How many images.
        split: Where the images come from.
        output: PNG to write.
    """
    n = _positive("n", n)
    _draw("reconstructions", run, output, (split, n), n=n)


def traverse(
    run: str,
    image: int = 0,
    span: float = 3.0,
    steps: int = 11,
    rows: int = 12,
    output: str = "traverse.png",
) -> None:
    """Draw an image's code moved along one latent dimension at a time.

    Args:
        run: Run folder or checkpoint.
        image: Number of the validation image to start from.
        span: How far to move to either side of zero.
        steps: Images a row.
        rows: How many dimensions, those that vary most among images.
        output: PNG to write.
    """
    count = max(1000, image + 1)
    steps, rows = _positive("steps", steps), _positive("rows", rows)
    options = {"image": image, "span": span, "steps": steps, "rows": rows}
    _draw("traversals", run, output, ("val", count), **options)


def interpolate(
    run: str,
    pairs: int = 8,
    steps: int = 11,
    split: Split = "val",
    output: str = "interpolate.png",
) -> None:
    """Draw straight walks between the codes of two images.

    Args:
        run: Run folder or checkpoint.
        pairs: How many walks.
        steps: Images a walk.
        split: Where the images come from.
        output: PNG to write.
    """
    pairs, steps = _positive("pairs", pairs), _positive("steps", steps)
    _draw("interpolation", run, output, (split, 2 * pairs), pairs=pairs, steps=steps)


def manifold(run: str, side: int = 20, output: str = "manifold.png") -> None:
    """Draw the whole plane of a two-dimensional code.

    Args:
        run: Run folder or checkpoint.
        side: Images a side.
        output: PNG to write.
    """
    _draw("manifold", run, output, side=_positive("side", side))


def _positive(name: str, value: int) -> int:
    from vae_lab.errors import LabError

    if value < 1:
        raise LabError(f"--{name} is at least 1; got {value}.")
    return value


def _draw(
    drawing: str,
    run: str,
    output: str,
    images: tuple[Split, int] | None = None,
    **options: Any,
) -> None:
    """Load what the drawing needs, draw, and say where the picture lies."""
    import torch

    from vae_lab import runs
    from vae_lab.callbacks.drawings import DRAWINGS
    from vae_lab.contracts import Batch
    from vae_lab.pictures import save_png

    model = runs.load_model(run)
    DRAWINGS[drawing].check(model, f"the picture {drawing!r}")
    nothing = Batch(torch.empty(0), torch.empty(0))
    batch = nothing if images is None else runs.load_data(run).images(*images)
    with torch.inference_mode():
        picture = DRAWINGS[drawing].draw(model, batch, **options)
    save_png(picture, Path(output))
    print(output)
