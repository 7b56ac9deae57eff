"""`lab attribute`: images with more and less of an attribute, and the rate of success."""

import json
from typing import TYPE_CHECKING, Any, Literal

from vae_lab.errors import LabError
from vae_lab.files import digest, write_text
from vae_lab.runs import checkpoint_of, load_data, load_model
from vae_lab.verbs.options import above_zero, at_least
from vae_lab.verbs.picture import origin, save

if TYPE_CHECKING:
    from torch import Tensor

    from vae_lab.contracts import Batch, Images
    from vae_lab.judges import Judge
    from vae_lab.metrics.attributes import Attribute
    from vae_lab.metrics.measures import Measure

__all__ = ["attribute"]


def attribute(
    run: str,
    attribute: str = "thickness",
    strength: float = 2.0,
    steps: int = 9,
    n: int = 8,
    split: Literal["val", "test"] = "val",
    limit: int | None = None,
    judge: str | None = None,
    numbers: str = "attribute.json",
    output: str = "attribute.png",
) -> None:
    """Move images' codes along an attribute's vector, and measure how often the attribute changes.

    The vector is the mean code of training images with the attribute minus that of images without.
    Success is measured on held-out images. Decoding alone changes some of them, as it thickens
    strokes: the table has their share at a step of 0, and as `gained` what the vector adds.

    Args:
        run: Run folder or checkpoint; of an experiment's folder, the newest run.
        attribute: `thickness`, `slant` or `width` of strokes, measured on the images, of which the
            upper third has the attribute and the lower third not; or the name of one of the data's
            attributes, such as CelebA's Smiling.
        strength: Largest step in both directions, in lengths of the vector.
        steps: Images per row, an odd number: the middle one is not moved.
        n: Number of images to draw.
        split: Split of the images to move and draw; use `val` as long as the result may change
            strength, attribute or judge.
        limit: Number of training images to learn from, and of images to measure; by default all.
        judge: Run folder or checkpoint of a classifier that tells whether an image keeps its class.
            For the data's attributes, any run that encodes, or `inception`: a classifier of the
            attribute is trained on its features.
        numbers: JSON file for the shares and their protocol.
        output: PNG to write.

    Raises:
        LabError: If the run cannot be loaded, its model cannot both encode and decode, there is no
            such attribute, the judge is missing or is the model itself, or an option is out of
            range.
    """
    import torch

    from vae_lab import pictures
    from vae_lab.contracts import Batch
    from vae_lab.metrics.attributes import attribute_vector

    above_zero(strength=strength)
    if steps < 3 or steps % 2 == 0:
        raise LabError(f"--steps is odd and at least 3, as many to either side; got {steps}.")
    at_least(1, n=n, limit=limit)
    known = _digest(run, judge)
    model: Any = load_model(run)
    _check(model)
    # Grey instead of sampled binary images, as decoded images are means.
    data = load_data(run).undrawn()
    train, others = data.images("train", limit), data.images(split, limit)
    kind, jury = _kind(attribute, data, train, others, model, judge)
    vector = attribute_vector(model, train, kind.of(train))
    found = _measure(model, others, vector, kind, strength, jury)
    about = data.protocol(split) | {
        "images": len(others.x),
        "trained_on": len(train.x),
        "attribute": kind.about,
        "checkpoint_sha256": known,
        "judge": jury and f"{jury.name}{jury.error}",
    }
    _write(found, about, numbers)
    ways = torch.linspace(-strength, strength, steps)
    drawn = _draw(model, Batch(others.x[:n], others.y[:n]), vector, ways, attribute)
    save(pictures.signed(drawn, origin(run), f"{split} images"), output)
    _print(f"{type(model).__name__}, {attribute}", found, about)
    print(numbers)


def _digest(run: str, judge: str | None) -> str:
    """Return the digest of a run's weights; refuse a judge that has the same ones."""
    known = digest(checkpoint_of(run))
    if judge not in (None, "inception") and digest(checkpoint_of(judge)) == known:
        raise LabError(f"{judge} is the model itself, which judges no edits of its own.")
    return known


def _measure(
    model: Any,
    images: "Batch",
    vector: "Tensor",
    attribute: "Attribute",
    strength: float,
    jury: "Judge | None",
) -> "dict[str, Measure]":
    """Measure steps of none, half and all of the strength in both directions."""
    from vae_lab.metrics.attributes import moved

    strengths = [share * strength for share in (-1, -0.5, 0, 0.5, 1)]
    # Images whose labels are attributes have no class to keep.
    keeper = jury.judge if jury and images.has_classes else None
    return moved(model, images, vector, attribute, strengths, keeper)


def _draw(model: Any, shown: "Batch", vector: "Tensor", ways: "Tensor", name: str) -> "Tensor":
    """Draw images, and their codes moved by multiples of the vector, decoded."""
    from vae_lab import pictures
    from vae_lab.metrics.inversion import decoded
    from vae_lab.metrics.measures import encode

    codes = encode(model, shown)[:, None] + ways[:, None] * vector
    images = decoded(model, codes.flatten(0, 1), shown.y.repeat_interleave(len(ways), 0))
    title = f"{name}: an image, and its code moved by so many lengths of the vector"
    return pictures.transfer(shown.x, images, [f"{way:.2g}" for way in ways], title)


def _check(model: Any) -> None:
    """Refuse a model that has no encoder or whose codes cannot be moved."""
    from vae_lab.contracts import Decodes, Encodes, require
    from vae_lab.metrics.inversion import check_invertible

    require(model, Decodes, "`lab attribute`")
    if not isinstance(model, Encodes):
        raise LabError(
            f"`lab attribute` needs a model that can encode; {type(model).__name__} cannot, and "
            "`lab invert` finds the codes of single images only."
        )
    check_invertible(model, "`lab attribute`")


def _kind(
    name: str, data: "Images", train: "Batch", others: "Batch", model: Any, judge: str | None
) -> "tuple[Attribute, Judge | None]":
    """Return the attribute, and the judge."""
    from vae_lab.judges import load_judge
    from vae_lab.metrics.attributes import STROKES, Labelled, Stroke

    if name in STROKES:
        if judge == "inception":
            raise LabError("Inception knows no class that an image could keep: give a classifier.")
        return Stroke(name, train.x), load_judge(judge, model, data) if judge else None
    names = data.label_names if train.y.ndim == 2 else ()
    if name not in names:
        raise LabError(
            f"There is no attribute {name!r}; strokes have {', '.join(STROKES)}"
            + (f", these images {', '.join(names)}." if names else ", these images no others.")
        )
    if judge is None:
        raise LabError(f"Who sees {name} in an image without a label? Give a --judge.")
    eye = load_judge(judge, model, data, classifies=False)
    return Labelled(name, names.index(name), eye.judge, train, others), eye


def _write(found: "dict[str, Measure]", about: dict[str, Any], path: str) -> None:
    """Write the shares with their protocol."""
    metrics = {name: share.entry() for name, share in found.items()}
    write_text(path, json.dumps({"protocol": about, "metrics": metrics}, indent=2) + "\n")


def _print(title: str, found: "dict[str, Measure]", about: dict[str, Any]) -> None:
    """Print one row of shares per step."""
    from rich.box import SIMPLE
    from rich.table import Table

    from vae_lab.verbs.terminal import Terminal

    said = ", ".join(f"{key} {value}" for key, value in about.items() if value is not None)
    known = ("moved", "gained", "kept", "both")
    kinds = [kind for kind in known if any(kind in name for name in found)]
    caption = f"of N images that were not past the threshold; gained: less step 0; {said}"
    table = Table("step", *kinds, "N", box=SIMPLE, title=title, caption=caption)
    for step in dict.fromkeys(name.partition("_")[2] for name in found):
        shares = [found[f"{kind}_{step}"] for kind in kinds]
        table.add_row(step.replace("_", " "), *map(_plus_minus, shares), str(shares[0].images))
    Terminal().print(table)


def _plus_minus(share: "Measure") -> str:
    error = share.standard_error
    return f"{share.value:.3f}" + ("" if error is None else f" ± {error:.3f}")
