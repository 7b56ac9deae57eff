"""The quick table: experiments on the embedded digits."""

from dataclasses import replace

from vae_lab.verbs.results.index import Index, Mark, Row

__all__ = ["on_digits", "quick"]

# Sizes in place of sources in colour or of other shapes.
_SIZES = {
    "frey": ["--data.resize=[28,20]"],
    "cifar10": ["--data.resize=32", "--data.channels=3"],
    "celeba": ["--data.resize=32", "--data.channels=3"],
    "folder": ["--data.resize=32", "--data.channels=3"],
}


def on_digits(experiment: str) -> list[str]:
    """Return the arguments of `lab fit` that train an experiment on the embedded digits.

    Examples:
        >>> on_digits("vae_mnist")
        ['--data=Digits', '--data.resize=28']
    """
    data = experiment.rpartition("_")[2]
    return ["--data=Digits", *_SIZES.get(data, ["--data.resize=28"])]


def quick(index: Index) -> Index:
    """Return the same table for the embedded digits, with few epochs, one seed and no marks."""
    rows = {name: _quick(row, row.experiment or name) for name, row in index.rows.items()}
    return replace(index, rows=rows, records=None)


def _quick(row: Row, experiment: str) -> Row:
    brief = ["--trainer.max_epochs=10", "--pictures.kinds=[]"]
    words = [*row.overrides, *on_digits(experiment), *brief, *row.quick]
    evaluate = {**row.evaluate, "importance_samples": 50}
    if "judge" in evaluate or "parzen" in evaluate:
        evaluate["samples"] = 500
    return replace(
        row,
        overrides=words,
        seeds=row.seeds[:1],
        evaluate=evaluate,
        metrics={key: Mark() for key in row.metrics},
    )
