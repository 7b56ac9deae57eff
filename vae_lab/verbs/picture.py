"""From a run to a picture on disk: what the drawing verbs share."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from vae_lab import checkpoints, runs
from vae_lab.errors import LabError

if TYPE_CHECKING:
    from torch import Tensor

    from vae_lab.contracts import Batch, Images

__all__ = [
    "Split",
    "check_images",
    "check_once",
    "each",
    "noted",
    "one_name",
    "origin",
    "picture",
    "save",
    "say_if_fewer",
    "signed",
]

Split = Literal["train", "val", "test"]
Made = TypeVar("Made")


def noted(
    drawing: str, run: str, images: tuple[Split, int] | None = None, **options: Any
) -> "Tensor":
    """Draw as `picture` does, and write below of which weights, images and seed."""
    from vae_lab.drawings import DRAWINGS

    drawn, chosen = picture(drawing, run, images, **options)
    looks = images is not None and DRAWINGS[chosen].images
    calls = {"image": "image" if looks else "draw", "seed": "seed"}
    said = {called: options[key] for key, called in calls.items() if key in options}
    return signed(drawn, origin(run, images[0] if images and looks else None, **said))


def picture(
    drawing: str, run: str | Path, images: tuple[Split, int] | None = None, **options: Any
) -> "tuple[Tensor, str]":
    """Load a model and the images that a drawing needs, and draw.

    Args:
        drawing: Name of one of `vae_lab.drawings.DRAWINGS`, or several separated by commas, of
            which the first is drawn that the model is able to.
        run: Run folder or checkpoint; of an experiment's folder, the newest run.
        images: Split and count of the images it is drawn from, if any.
        **options: What the drawing can be told.

    Returns:
        The picture, and the name of its drawing.

    Raises:
        LabError: If there is no such run, the model cannot do what the drawing needs, or the
            images are too few for it.
    """
    import torch

    from vae_lab.contracts import Batch, Samples
    from vae_lab.drawings import DRAWINGS

    model = runs.load_model(run)
    drawing = _possible(drawing.split(","), model)
    # Of more images than these it only looks how far codes or attributes go.
    asked = 0 if images is None else options.get("n", 2 * options.get("pairs", 0))
    needed = DRAWINGS[drawing].images
    if images is None and needed and (needed > 1 or not isinstance(model, Samples)):
        # Their codes say where to look, in the place of a prior; or their attributes how far.
        images = ("val", 2000)
    if images is None:
        names, batch = _class_names(run, drawing), Batch.unlabelled(torch.empty(0))
    else:
        data = runs.load_data(run)
        names, batch = data.label_names, data.images(*images)
        if len(batch.x) < needed:
            raise LabError(
                f"The picture {drawing!r} is drawn from {needed} images at least; "
                f"there are {len(batch.x)}."
            )
        say_if_fewer(batch, asked, images[0])
    with torch.inference_mode():
        return DRAWINGS[drawing](model, batch, names, **options), drawing


def origin(run: str, split: Split | None = None, **chosen: int) -> str:
    """Say of a picture which weights it is of, which images, and what chose among them."""
    name = Path(run).name
    with suppress(LabError):
        name = runs.find(run).name  # a checkpoint's too
    epoch = checkpoints.read(runs.checkpoint_of(run))["epoch"] + 1
    of = [f"{split} images"] if split else []
    return ", ".join([name, f"epoch {epoch}", *of, *(f"{k} {n}" for k, n in chosen.items())])


def signed(picture: "Tensor", words: str) -> "Tensor":
    """Write a line below a picture (3, H, W)."""
    from vae_lab.pictures import captioned, stacked

    return stacked([picture, captioned(picture[:, :1], words)[:, :-1]])


def _class_names(run: str | Path, drawing: str) -> tuple[str, ...]:
    """Return the names that a drawing writes, unless the run's data are gone."""
    from vae_lab.drawings import DRAWINGS

    with suppress(LabError):
        return runs.load_data(run).label_names if DRAWINGS[drawing].named else ()
    return ()


def each(runs: Sequence[str], do: Callable[[str], Made]) -> list[Made]:
    """Do something of each run; where they are several, an error says of which it is."""
    done = []
    for run in runs:
        try:
            done.append(do(run))
        except LabError as error:
            if len(runs) == 1 or run in str(error):
                raise
            raise LabError(f"{run}: {error}") from error
    return done


def check_once(paths: Iterable[Path]) -> None:
    """Refuse what is given twice: it would be shown once.

    Raises:
        LabError: If it is.
    """
    counts = Counter(path.resolve() for path in paths)
    if twice := [path for path, count in counts.items() if count > 1]:
        raise LabError(f"{twice[0]} is given twice; name each once.")


def say_if_fewer(batch: "Batch", asked: int, split: str) -> None:
    """Say that fewer images are drawn than were asked for, as there are no more."""
    if (found := len(batch.x)) < asked:
        wanted = f"{asked:,} {split} images were asked for"
        print(f"{wanted}; there are no more than {found:,}.", file=sys.stderr)


def _possible(drawings: Sequence[str], model: Any) -> str:
    """Return the first drawing that the model is able to, or refuse it as the first one does."""
    from vae_lab.drawings import DRAWINGS

    for drawing in drawings:
        with suppress(LabError):
            DRAWINGS[drawing].check(model, drawing)
            return drawing
    DRAWINGS[drawings[0]].check(model, f"the picture {drawings[0]!r}")
    return drawings[0]


def save(picture: "Tensor", output: str) -> None:
    """Write a picture (3, H, W), and say where it lies."""
    from vae_lab.pictures import save_png

    save_png(picture, Path(output))
    print(output)


def check_images(runs: Sequence[str], data: "Sequence[Images]", split: str) -> None:
    """Refuse runs of other images than those of the first."""
    trained_on = ("limit", "limit_seed", "shift")
    about = [{k: v for k, v in d.protocol(split).items() if k not in trained_on} for d in data]
    for word, other in zip(runs, about, strict=True):
        if different := [key for key in about[0] | other if about[0].get(key) != other.get(key)]:
            raise LabError(
                f"{runs[0]} and {word} are of different images: {different[0]} is "
                f"{about[0].get(different[0])} and {other.get(different[0])}."
            )


def one_name(run: str) -> str:
    """Return what a run, or a checkpoint, is called among others."""
    return Path(run).name if Path(run).is_file() else runs.find(run).name
