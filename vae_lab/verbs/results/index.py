"""The index of the published table: its rows and figures."""

from argparse import ArgumentError
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from vae_lab.errors import LabError
from vae_lab.verbs import VERBS
from vae_lab.verbs.results.metrics import METRICS
from vae_lab.yaml_text import read_yaml

__all__ = ["Figure", "Index", "Mark", "Row", "read"]


@dataclass(frozen=True)
class Mark:
    """The published number to reach in one metric, or only a metric to show.

    Attributes:
        published: The number, if there is one.
        goal: Direction of the comparison.
        tolerance: Largest allowed miss.
        over: Statistic over seeds to compare.
        source: Source of the number.
        protocol: The authors' protocol.
        budget: The authors' training budget.
        caveat: Why the numbers are not compared, if they are not.
        own: Whether it is this suite's own aim, not a published number.
    """

    published: float | None = None
    goal: Literal["at most", "at least", "about"] | None = None
    tolerance: float = 0.0
    over: Literal["mean", "median"] = "mean"
    source: str = ""
    protocol: str = ""
    budget: str = ""
    caveat: str = ""
    own: bool = False

    @property
    def whose(self) -> str:
        """The authors of the mark."""
        return "our own aim" if self.own else self.source


@dataclass(frozen=True)
class Row:
    """One row of the table, a system.

    Attributes:
        system: Its description.
        metrics: The metrics and their marks.
        experiment: The experiment file; by default that of the row's name.
        overlays: Further configuration files, which override the first.
        overrides: Further arguments of `lab fit`.
        seeds: The seeds to train with.
        needs: Options of `lab fit` that take the runs of other rows.
        evaluate: Arguments of `lab evaluate`; `judge` may be a row.
        quick: Further arguments of `lab fit` on the embedded digits.
        groups: Names of groups that include this row.
        by_name: Whether it is trained only if it is named, because of its cost.
    """

    system: str
    metrics: dict[str, Mark]
    experiment: str = ""
    overlays: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0])
    needs: dict[str, str] = field(default_factory=dict)
    evaluate: dict[str, bool | int | float | str] = field(default_factory=dict)
    quick: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    by_name: bool = False


@dataclass(frozen=True)
class Figure:
    """A figure of the page.

    Attributes:
        title: Its title.
        verb: The verb that draws it.
        rows: The rows whose runs it is drawn from.
        arguments: Further arguments of the verb; `{folder}` is the folder of the pictures.
        output: The verb's option for the PNG.
        source: The published figure that it follows.
    """

    title: str
    verb: str
    rows: list[str]
    arguments: list[str] = field(default_factory=list)
    output: str = "output"
    source: str = ""


@dataclass(frozen=True)
class Index:
    """All rows and all figures.

    Attributes:
        folder: Folder of the index, in that of the experiments.
        rows: Rows by name, in the table's order.
        figures: Figures by name, in the page's order.
        records: Folder of recorded numbers, which are kept without the runs' weights, if any.
    """

    folder: Path
    rows: dict[str, Row]
    figures: dict[str, Figure]
    records: Path | None = None

    def files(self, name: str) -> list[Path]:
        """Return the experiment file of a row, and its overlays."""
        row = self.rows[name]
        return [
            self.folder.parent / f"{file}.yaml" for file in (row.experiment or name, *row.overlays)
        ]

    def needed(self, name: str) -> list[str]:
        """Return the rows that a row needs for training or evaluation."""
        row = self.rows[name]
        judge = row.evaluate.get("judge")
        judges = [judge] if isinstance(judge, str) and judge in self.rows else []
        return [*row.needs.values(), *judges]

    def named(self, names: Iterable[str]) -> list[str]:
        """Return the rows of the given names of rows and groups.

        Raises:
            LabError: If a name is neither a row's nor a group's.
        """
        known = {name: [name] for name in self.rows}
        for name, row in self.rows.items():
            for group in row.groups:
                known.setdefault(group, []).append(name)
        if unknown := next((name for name in names if name not in known), None):
            _refuse("row or group", unknown, known)
        return [row for name in names for row in known[name]]

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Return the named rows, or all except those trained only by name, after rows they need.

        Raises:
            LabError: If a name is neither a row's nor a group's, or rows need one another.
        """
        found: dict[str, None] = {}
        for name in names or [name for name, row in self.rows.items() if not row.by_name]:
            for row_name in self.named([name]):
                self._add(row_name, found, ())
        return list(found)

    def _add(self, name: str, found: dict[str, None], above: tuple[str, ...]) -> None:
        if name in above:
            raise LabError(f"The rows {' and '.join(above)} need each other; mend their `needs`.")
        for other in self.needed(name):
            self._add(other, found, (*above, name))
        found[name] = None


def read(folder: str | Path) -> Index:
    """Read `table.yaml` and `figures.yaml`.

    Raises:
        LabError: If one is missing, or has unknown or invalid entries, or a mark without a source.
    """
    folder = Path(folder)
    rows = {name: _row(given) for name, given in _entries(folder / "table.yaml", Row)}
    figures = {n: Figure(**given) for n, given in _entries(folder / "figures.yaml", Figure)}
    index = Index(folder, rows, figures, folder / "measured")
    for name in rows:
        _check(index, name)
    for name, figure in figures.items():
        _check_figure(name, figure, rows)
    index.chosen([*rows])
    return index


def _entries(path: Path, kind: type[Row] | type[Figure]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each entry by name, with its types checked."""
    from vae_lab.parsing import LabParser, brief

    try:
        given = read_yaml(path)
    except OSError as error:
        raise LabError(
            f"There is no {path}, which says what the results are: call this from the repository's "
            "folder, or name the index's by --index."
        ) from error
    if not isinstance(given, dict):
        raise LabError(f"{path} holds no `name: entry` lines.")
    # Its own error would import all classes, to suggest a name.
    parser = LabParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    known = [part.name for described in (kind, Mark) for part in fields(described)]
    for name, entry in given.items():
        try:
            yield name, parser.parse_object(entry if isinstance(entry, dict) else {}).as_dict()
        except ArgumentError as error:
            raise LabError(f"{path}, {name}: {brief(str(error), known)}") from error


def _row(given: dict[str, Any]) -> Row:
    marks = {
        key: mark if isinstance(mark, Mark) else Mark(**mark)
        for key, mark in given["metrics"].items()
    }
    return Row(**{**given, "metrics": marks})


def _check(index: Index, name: str) -> None:
    row = index.rows[name]
    if lacking := next((file for file in index.files(name) if not file.is_file()), None):
        known = [path.stem for path in index.folder.parent.glob("*.yaml")]
        _refuse("experiment", lacking.stem, known, f"row {name}")
    for key, mark in row.metrics.items():
        if key not in METRICS:
            _refuse("metric", key, METRICS, f"row {name}")
        if mark.published is not None and not (mark.whose and mark.goal):
            raise LabError(
                f"row {name}: {key} is published, so it needs a source and a goal; "
                "own: true says that it is our own aim."
            )
    for other in row.needs.values():
        if other not in index.rows:
            _refuse("row", other, index.rows, f"row {name} needs one")
    if not row.seeds or len({*row.seeds}) < len(row.seeds):
        raise LabError(f"row {name}: seeds are a list of at least one, each once.")


def _check_figure(name: str, figure: Figure, rows: Mapping[str, Row]) -> None:
    if figure.verb not in VERBS:
        _refuse("verb", figure.verb, VERBS, f"figure {name}")
    for row in figure.rows:
        if row not in rows:
            _refuse("row", row, rows, f"figure {name}")


def _refuse(kind: str, name: str, known: Iterable[str], where: str = "") -> None:
    near = get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise LabError(f"{where}{': ' if where else ''}there is no {kind} {name!r}{hint}")
