"""From a run to a picture on disk: shared code of the drawing verbs."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from vae_lab import checkpoints, runs
from vae_lab.errors import LabError
from vae_lab.words import counted

if TYPE_CHECKING:
    from torch import Tensor

    from vae_lab.contracts import Batch, Images

__all__ = [
    "Split",
    "check_images",
    "check_once",
    "each",
    "named_pictures",
    "origin",
    "picture",
    "save",
    "say_if_fewer",
]

Split = Literal["train", "val", "test"]
Made = TypeVar("Made")


def picture(
    drawing: str, run: str | Path, images: tuple[Split, int] | None = None, **options: Any
) -> "Tensor":
    """Load a model and the images that a drawing needs, draw, and sign the picture.

    Args:
        drawing: Name in `vae_lab.drawings.DRAWINGS`, or several separated by commas, of which the
            first that the model supports is drawn.
        run: Run folder or checkpoint; of an experiment's folder, the newest run.
        images: Split and number of the images that it is drawn from, if any.
        **options: Options of the drawing.

    Raises:
        LabError: If there is no such run, the model does not support the drawing, or there are too
            few images for it.
    """
    import torch

    from vae_lab.contracts import Batch
    from vae_lab.drawings import DRAWINGS
    from vae_lab.pictures import signed

    model = runs.load_model(run)
    drawing = _possible(drawing.split(","), model)
    # Further images are only used to estimate the range of codes or attributes.
    asked = 0 if images is None else options.get("n", 2 * options.get("pairs", 0))
    needed = DRAWINGS[drawing].images
    if images is None and DRAWINGS[drawing].looks(model):
        # For the range of their codes, instead of a prior, or of their attributes.
        images = ("val", 2000)
    if images is None:
        names, batch = _class_names(run, drawing), Batch.unlabelled(torch.empty(0))
    else:
        data = runs.load_data(run)
        names, batch = data.label_names, data.images(*images)
        if len(batch.x) < needed:
            raise LabError(
                f"The picture {drawing!r} is drawn from {counted(needed, 'image')} at least; "
                f"there are {len(batch.x)}."
            )
        say_if_fewer(batch, asked, images[0])
    about = DRAWINGS[drawing].about(model, images[0] if images else "", **options)
    with torch.inference_mode():
        return signed(DRAWINGS[drawing](model, batch, names, **options), origin(run), *about)


def origin(run: str | Path, name: str | None = None) -> str:
    """Return which weights are drawn: the epoch of a run, whose name may be one among several."""
    epoch = checkpoints.epoch(runs.checkpoint_of(run))
    return f"{name or runs.names_of([run])[0]}, epoch {epoch}"


def _class_names(run: str | Path, drawing: str) -> tuple[str, ...]:
    """Return the class names for a drawing, if it has any and the run's data still exist."""
    from vae_lab.drawings import DRAWINGS

    with suppress(LabError):
        return runs.load_data(run).label_names if DRAWINGS[drawing].named else ()
    return ()


def each(runs: Sequence[str], do: Callable[[str], Made]) -> list[Made]:
    """Call `do` for each run; if there are several, an error names its run."""
    done = []
    for run in runs:
        try:
            done.append(do(run))
        except LabError as error:
            if len(runs) == 1 or run in str(error):
                raise
            raise LabError(f"{run}: {error}") from error
    return done


def named_pictures(
    drawing: str,
    words: Sequence[str],
    images: tuple[Split, int] | None = None,
    **options: Any,
) -> list["Tensor"]:
    """Return a `picture` of each run, with the run's name in its title."""
    names = dict(zip(words, runs.names_of(words), strict=True))
    return each(words, lambda run: picture(drawing, run, images, name=names[run], **options))


def check_once(paths: Iterable[Path]) -> None:
    """Refuse a path that is given twice, which would be shown once.

    Raises:
        LabError: If one is.
    """
    counts = Counter(path.resolve() for path in paths)
    if twice := [path for path, count in counts.items() if count > 1]:
        raise LabError(f"{twice[0]} is given twice; name each once.")


def say_if_fewer(batch: "Batch", asked: int, split: str) -> None:
    """Print that there are fewer images than were asked for."""
    if (found := len(batch.x)) < asked:
        wanted = f"{asked:,} {split} images were asked for"
        print(f"{wanted}; there are no more than {found:,}.", file=sys.stderr)


def _possible(drawings: Sequence[str], model: Any) -> str:
    """Return the first drawing that the model supports; if none, raise the first one's error."""
    from vae_lab.drawings import DRAWINGS

    for drawing in drawings:
        with suppress(LabError):
            DRAWINGS[drawing].check(model, drawing)
            return drawing
    DRAWINGS[drawings[0]].check(model, f"the picture {drawings[0]!r}")
    return drawings[0]


def save(picture: "Tensor", output: str) -> None:
    """Write a picture (3, H, W), and print its path."""
    from vae_lab.pictures import save_png

    save_png(picture, Path(output))
    print(output)


def check_images(runs: Sequence[str], data: "Sequence[Images]", split: str) -> None:
    """Refuse runs whose images differ from those of the first."""
    trained_on = ("limit", "limit_seed", "shift")
    about = [{k: v for k, v in d.protocol(split).items() if k not in trained_on} for d in data]
    for word, other in zip(runs, about, strict=True):
        if different := [key for key in about[0] | other if about[0].get(key) != other.get(key)]:
            raise LabError(
                f"{runs[0]} and {word} are of different images: {different[0]} is "
                f"{about[0].get(different[0])} and {other.get(different[0])}."
            )
