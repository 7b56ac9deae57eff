"""`lab gallery`: models of the same images in one figure, and how they score in one table."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from vae_lab.errors import LabError
from vae_lab.files import digest, write_text
from vae_lab.runs import Run, checkpoint_of, find, load_data, load_model
from vae_lab.verbs.comparing.comparison import Column, columns_of, names_of
from vae_lab.verbs.options import at_least
from vae_lab.verbs.picture import Split, check_images, check_once, each, origin, say_if_fewer

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


def gallery(
    runs: list[str],
    n: int = 10,
    split: Split = "val",
    seed: int = 0,
    table: str = "gallery.md",
    output: str = "gallery.png",
) -> None:
    """Draw images, what each run restores of them and what it draws itself, and tabulate scores.

    The numbers are those of `lab evaluate RUN --judge JUDGE` on the test images: what samples are
    like, the squared error of reconstructions in pixels and in the judge's features, and the time
    that training took. Each is of the one run that is drawn; how far it spreads over seeds,
    `lab results` writes into RESULTS.md, and `lab compare RUNS --over seed_everything` prints.

    Args:
        runs: Run folders or checkpoints, of the same images, in the order of the rows; of
            experiments' folders, the newest runs.
        n: How many images, and how many samples of each run.
        split: Where the images come from.
        seed: The same seed draws the same samples.
        table: Markdown file for the numbers.
        output: PNG to write.

    Raises:
        LabError: If a run cannot be loaded, can neither restore nor draw images, is of other
            images than the first or is given twice, or if its numbers are of other weights than
            it has now.
    """
    import torch

    from vae_lab import pictures
    from vae_lab.randomness import reseed

    at_least(1, n=n)
    found = [find(run) for run in runs]
    check_once(run.path for run in found)
    for word, run in zip(runs, found, strict=True):
        _check_numbers(word, run)
    # Grey where black and white was drawn: what is drawn and restored are means.
    data = each(runs, lambda run: load_data(run).undrawn())
    check_images(runs, data, split)
    able = each(runs, _loaded)
    models = [model for model, _ in able]
    names = _names(models, found)
    images = data[0].images(split, n)
    say_if_fewer(images, n, split)
    restored, drawn = {}, {}
    with torch.inference_mode():
        for name, (model, kinds) in zip(names, able, strict=True):
            if "reconstructions" in kinds:
                restored[name] = model.decode(model.encode(*images), images.y)
            if "samples" in kinds:
                reseed(seed)
                drawn[name] = model.sample(len(images.x))
    picture = pictures.gallery(images.x, restored, drawn)
    for model, word in zip(models, runs, strict=True):
        picture = pictures.signed(picture, f"{type(model).__name__}: {origin(word)}")
    pictures.save_png(pictures.signed(picture, f"{split} images", f"seed {seed}"), output)
    drawing = [run for run, name in zip(found, names, strict=True) if name in drawn]
    _tabulate([type(model).__name__ for model in models], found, drawing, table)
    print(table, output, sep="\n")


def _loaded(run: str) -> tuple[Any, set[str]]:
    """Return a run's model, and which of reconstructions and samples can be drawn of it.

    Raises:
        LabError: If it is none.
    """
    from vae_lab.drawings import DRAWINGS

    model = load_model(run)
    able = set()
    for kind in ("reconstructions", "samples"):
        with suppress(LabError):
            DRAWINGS[kind].check(model, "`lab gallery`")
            able.add(kind)
    if not able:
        raise LabError(f"A {type(model).__name__} neither restores images nor draws new ones.")
    return model, able


def _names(models: Sequence[Any], runs: Sequence[Run]) -> list[str]:
    """Call each model by its class, and by its run too where that is not enough, or its path."""
    classes = [type(model).__name__ for model in models]
    counts = Counter(classes)
    return [
        name if counts[name] == 1 else f"{name} {place}"
        for name, place in zip(classes, names_of(runs), strict=True)
    ]


def _check_numbers(word: str, run: Run) -> None:
    """Refuse numbers that were measured on other weights than are drawn."""
    known = run.evaluation["protocol"].get("test", {}).get("checkpoint_sha256")
    if known not in (None, digest(checkpoint_of(word))):
        raise LabError(
            f"The numbers of {run.path} are of other weights than those of {word}: "
            f"`lab evaluate {word} --judge JUDGE` measures these."
        )


def _tabulate(
    classes: Sequence[str], runs: Sequence[Run], drawing: Sequence[Run], path: str
) -> None:
    """Write the table and its notes down, and print them."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from vae_lab.verbs.terminal import Terminal

    columns = _columns(runs)
    heads = ["model", "run", *(_METRICS[key] for key in columns), "training"]
    notes = list(_notes(runs, drawing, columns))
    marked = _rows(classes, runs, list(columns.values()), "**{}**")
    text = [f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *marked)]
    # A blank line between notes makes each a paragraph.
    write_text(path, "\n".join([*text, "", "\n\n".join(notes), ""]))
    # A column a run: a terminal is too narrow for a column a metric.
    rows = _rows(classes, runs, list(columns.values()), "[bold]{}[/]")
    (_, *names), *lines = zip(heads, *rows, strict=True)
    printed = Table("", *names, box=SIMPLE_HEAD)
    for line in lines:
        printed.add_row(*line)
    Terminal().print(printed, *notes, sep="\n")


def _columns(runs: Sequence[Run]) -> dict[str, Column]:
    """Return what was measured of any run."""
    known = {column.key: column for column in columns_of(runs)}
    return {key: known[f"test/{key}"] for key in _METRICS if f"test/{key}" in known}


def _rows(
    classes: Sequence[str], runs: Sequence[Run], columns: Sequence[Column], bold: str
) -> Iterator[list[str]]:
    """Yield the cells of each run, the best numbers in bold."""
    for i, (name, run, place) in enumerate(zip(classes, runs, names_of(runs), strict=True)):
        best = [c.values[i] is not None and c.values[i] == c.best for c in columns]
        texts = [c.texts[i] for c in columns]
        numbers = [bold.format(t) if b else t for t, b in zip(texts, best, strict=True)]
        seconds = run.record.get("seconds")
        yield [name, place, *numbers, "" if seconds is None else f"{seconds / 60:.1f} min"]


def _notes(
    runs: Sequence[Run], drawing: Sequence[Run], columns: dict[str, Column]
) -> Iterator[str]:
    """Say what the numbers rest on, and which of them are missing or cannot be compared."""
    keys, alike = ("data", "images", "binarize", "seed", "judge"), defaultdict(list)
    for run, place in zip(runs, names_of(runs), strict=True):
        if about := run.evaluation["protocol"].get("test"):
            said = ", ".join(f"{key} {about[key]}" for key in keys if key in about)
            alike[said].append(f"{place} (weights {about['checkpoint_sha256']})")
    for said, measured in alike.items():
        yield f"Measured on test, {said}: {', '.join(measured)}."
    for run in drawing:
        if "judge" not in run.evaluation["protocol"].get("test", {}):
            yield f"No judge has seen these samples yet: `lab evaluate {run.path} --judge JUDGE`."
    if apart := [_METRICS[key] for key, column in columns.items() if not column.comparable]:
        yield f"Not measured alike, and so not to be compared: {', '.join(apart)}."
