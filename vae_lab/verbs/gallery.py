"""`lab gallery`: models of the same images in one figure, with a table of their scores."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from shlex import quote
from typing import TYPE_CHECKING, Any, NamedTuple

from vae_lab.errors import LabError
from vae_lab.files import digest, write_text
from vae_lab.runs import Run, checkpoint_of, find, load_data, load_model, names_of
from vae_lab.verbs.comparing.comparison import Column, columns_of
from vae_lab.verbs.options import at_least
from vae_lab.verbs.picture import Split, check_images, check_once, each, origin, say_if_fewer
from vae_lab.words import article

if TYPE_CHECKING:
    from torch import Tensor

    from vae_lab.contracts import Batch

__all__ = ["gallery"]

_METRICS = {
    "frechet_distance": "Fréchet distance",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "classes_covered": "classes",
    "squared_error": "pixel error",
    "judge_feature_error": "feature error",
}


class _Row(NamedTuple):
    """A run of the gallery.

    Attributes:
        name: Experiment and version.
        run: Its folder.
        origin: Which of its weights are drawn.
        model: In evaluation mode.
        kinds: What it can draw: `reconstructions`, `samples` or both.
    """

    name: str
    run: Run
    origin: str
    model: Any
    kinds: set[str]

    @property
    def kind(self) -> str:
        """The model's class."""
        return type(self.model).__name__

    @property
    def test_protocol(self) -> dict[str, Any]:
        """How the test images were evaluated; empty if they were not."""
        return dict(self.run.evaluation["protocol"].get("test", {}))


def gallery(
    runs: list[str],
    n: int = 10,
    split: Split = "val",
    seed: int = 0,
    table: str = "gallery.md",
    output: str = "gallery.png",
) -> None:
    """Draw images with the reconstructions and samples of each run, and tabulate scores.

    The scores are those of `lab evaluate RUN --judge JUDGE` on the test images: metrics of samples,
    squared errors of reconstructions in pixels and in the judge's features; and the training time.
    They are of the single run that is drawn; for their spread over seeds see RESULTS.md or `lab
    compare RUNS --over seed_everything`.

    Args:
        runs: Run folders or checkpoints, of the same images, in the order of the rows; of
            experiments' folders, the newest runs.
        n: Number of images, and of samples per run.
        split: Split of the images.
        seed: Seed of the samples.
        table: Markdown file for the scores.
        output: PNG to write.

    Raises:
        LabError: If a run cannot be loaded, can neither reconstruct nor sample, has other images
            than the first or is given twice, or if its scores are of other weights than it has
            now.
    """
    from vae_lab.pictures import save_png, signed

    at_least(1, n=n)
    found = [find(run) for run in runs]
    check_once(run.path for run in found)
    for word, run in zip(runs, found, strict=True):
        _check_numbers(word, run)
    # Grey instead of sampled binary images, as reconstructions and samples are means.
    data = each(runs, lambda run: load_data(run).undrawn())
    check_images(runs, data, split)
    rows = [
        _Row(name, run, origin(word, name), *able)
        for name, run, word, able in zip(
            names_of(runs), found, runs, each(runs, _loaded), strict=True
        )
    ]
    images = data[0].images(split, n)
    say_if_fewer(images, n, split)
    save_png(signed(_picture(rows, images, seed), f"{split} images", f"seed {seed}"), output)
    _tabulate(rows, table)
    print(table, output, sep="\n")


def _loaded(run: str) -> tuple[Any, set[str]]:
    """Return a run's model, and which of reconstructions and samples it can draw.

    Raises:
        LabError: If it can draw neither.
    """
    from vae_lab.drawings import DRAWINGS

    model = load_model(run)
    able = set()
    for kind in ("reconstructions", "samples"):
        with suppress(LabError):
            DRAWINGS[kind].check(model, "`lab gallery`")
            able.add(kind)
    if not able:
        raise LabError(f"{article(model, 'A')} neither restores images nor draws new ones.")
    return model, able


def _picture(rows: Sequence[_Row], images: "Batch", seed: int) -> "Tensor":
    """Draw images, each run's reconstructions and samples, and a line naming its weights."""
    import torch

    from vae_lab import pictures
    from vae_lab.randomness import reseed

    restored, drawn = {}, {}
    with torch.inference_mode():
        for label, row in zip(_labels(rows), rows, strict=True):
            if "reconstructions" in row.kinds:
                restored[label] = row.model.decode(row.model.encode(*images), images.y)
            if "samples" in row.kinds:
                reseed(seed)
                drawn[label] = row.model.sample(len(images.x))
    picture = pictures.gallery(images.x, restored, drawn)
    for row in rows:
        picture = pictures.signed(picture, f"{row.kind}: {row.origin}")
    return picture


def _labels(rows: Sequence[_Row]) -> list[str]:
    """Return the class of each row's model, with the run's name where several have that class."""
    counts = Counter(row.kind for row in rows)
    return [row.kind if counts[row.kind] == 1 else f"{row.kind} {row.name}" for row in rows]


def _check_numbers(word: str, run: Run) -> None:
    """Refuse scores that were measured on other weights than those drawn."""
    known = run.evaluation["protocol"].get("test", {}).get("checkpoint_sha256")
    if known not in (None, digest(checkpoint_of(word))):
        raise LabError(
            f"The numbers of {run.path} are of other weights than those of {word}: "
            f"`lab evaluate {quote(word)} --judge JUDGE` measures these."
        )


def _tabulate(rows: Sequence[_Row], path: str) -> None:
    """Write and print the table and its notes."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from vae_lab.verbs.terminal import Terminal

    columns = _columns(rows)
    heads = ["model", "run", *(_METRICS[key] for key in columns), "training"]
    notes = list(_notes(rows, columns))
    marked = _cells(rows, list(columns.values()), "**{}**")
    text = [f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *marked)]
    # A blank line between notes makes each a paragraph.
    write_text(path, "\n".join([*text, "", "\n\n".join(notes), ""]))
    # One column per run: a terminal is too narrow for one per metric.
    (_, *names), *lines = zip(
        heads, *_cells(rows, list(columns.values()), "[bold]{}[/]"), strict=True
    )
    printed = Table("", *names, box=SIMPLE_HEAD)
    for line in lines:
        printed.add_row(*line)
    Terminal().print(printed, *notes, sep="\n")


def _columns(rows: Sequence[_Row]) -> dict[str, Column]:
    """Return the metrics that any run has."""
    known = {column.key: column for column in columns_of([row.run for row in rows])}
    return {key: known[f"test/{key}"] for key in _METRICS if f"test/{key}" in known}


def _cells(rows: Sequence[_Row], columns: Sequence[Column], bold: str) -> Iterator[list[str]]:
    """Yield the cells of each run, the best numbers in bold."""
    for i, row in enumerate(rows):
        best = [c.values[i] is not None and c.values[i] == c.best for c in columns]
        texts = [c.texts[i] for c in columns]
        numbers = [bold.format(t) if b else t for t, b in zip(texts, best, strict=True)]
        seconds = row.run.record.get("seconds")
        yield [row.kind, row.name, *numbers, "" if seconds is None else f"{seconds / 60:.1f} min"]


def _notes(rows: Sequence[_Row], columns: dict[str, Column]) -> Iterator[str]:
    """Yield notes: protocols, missing scores, and those that are not comparable."""
    keys, alike = ("data", "images", "binarize", "seed", "judge"), defaultdict(list)
    for row in rows:
        if about := row.test_protocol:
            said = ", ".join(f"{key} {about[key]}" for key in keys if key in about)
            alike[said].append(f"{row.name} (weights {about['checkpoint_sha256']})")
    for said, measured in alike.items():
        yield f"Measured on test, {said}: {', '.join(measured)}."
    for row in rows:
        if "samples" in row.kinds and "judge" not in row.test_protocol:
            command = f"lab evaluate {quote(str(row.run.path))} --judge JUDGE"
            yield f"No judge has seen these samples yet: `{command}`."
    if apart := [_METRICS[key] for key, column in columns.items() if not column.comparable]:
        yield f"Not measured alike, and so not to be compared: {', '.join(apart)}."
