"""The page of `lab compare --html`: one file that needs no network, and a phone to read it."""

import json
import math
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from vae_lab.runs import Run
from vae_lab.verbs.comparison import Comparison
from vae_lab.verbs.grouping import Groups

__all__ = ["curves_of", "page"]

# Okabe and Ito's colours without the faint yellow; with the dashes, 28 runs look different.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DASHES = ("", "7 3", "2 2", "9 3 2 3")


def page(comparison: Comparison, groups: Groups | None = None) -> str:
    """Return the page that shows a comparison, after the means of its groups if there are any.

    Raises:
        LabError: If a run's metrics are damaged.
    """
    curves, axis = curves_of(comparison.runs)
    names = [f"{i}. {name}" for i, name in enumerate(comparison.names, 1)]
    parts = {
        "title": "1 run" if len(names) == 1 else f"{len(names)} runs side by side",
        "settings": _settings(comparison, names),
        "metrics": _grouped(groups) + _metrics(comparison, names),
        "curves": _charts(curves, names),
        "pictures": _pictures(comparison.runs, names),
        "data": _data(curves, axis, len(names)),
    }
    text = files("vae_lab.verbs").joinpath("compare.html").read_text(encoding="utf-8")
    head, *rest = text.split("<!--")
    # Splitting first keeps a name that looks like a mark from being taken for one.
    return head + "".join(
        parts[mark] + after for mark, _, after in (piece.partition("-->") for piece in rest)
    )


def _settings(comparison: Comparison, names: Sequence[str]) -> str:
    if not comparison.settings:
        return "<p>None.</p>"
    cells = [[f"<td>{escape(text)}</td>" for text in c] for c in comparison.settings.values()]
    return _table(comparison.settings, names, cells)


def _grouped(groups: Groups | None) -> str:
    if groups is None:
        return ""
    columns = groups.settings | {c.key: list(c.texts) for c in groups.columns}
    cells = [[f"<td>{escape(text)}</td>" for text in texts] for texts in columns.values()]
    return f"<h3>mean ± standard deviation</h3>{_table(columns, groups.names, cells)}<h3>runs</h3>"


def _metrics(comparison: Comparison, names: Sequence[str]) -> str:
    if not comparison.columns:
        return "<p>None yet.</p>"
    reports = [run.evaluation["metrics"] for run in comparison.runs]
    columns = []
    for c in comparison.columns:
        hints = [str(report.get(c.key, {}).get("protocol", "")) for report in reports]
        columns.append(
            [
                f"<td{' class=best' if v is not None and v == c.best else ''} "
                f'title="{escape(hint)}">{text}</td>'
                for v, text, hint in zip(c.values, c.texts, hints, strict=True)
            ]
        )
    return _table([c.key for c in comparison.columns], names, columns)


def _table(heads: Iterable[str], names: Sequence[str], columns: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th><button>{_breakable(h)}</button></th>" for h in ["run", *heads])
    rows = "".join(
        f"<tr><th>{_breakable(name)}</th>{''.join(cells)}</tr>"
        for name, *cells in zip(names, *columns, strict=True)
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def _breakable(name: str) -> str:
    return escape(name).replace("_", "_<wbr>").replace("/", "/<wbr>")


Curves = dict[str, list[list[tuple[float, float]]]]
"""For each metric, one curve a run."""


def curves_of(runs: Sequence[Run]) -> tuple[Curves, str]:
    """Return the curves by images seen if all runs counted those, else by step."""
    found = [run.curves("images") for run in runs]
    by_images = all(found)
    found = found if by_images else [run.curves("step") for run in runs]
    # Validation first.
    keys = sorted({key for curves in found for key in curves}, key=lambda k: (k[:4] != "val/", k))
    curves = {key: [curves.get(key, []) for curves in found] for key in keys}
    return curves, "images seen" if by_images else "step"


def _charts(curves: Curves, names: Sequence[str]) -> str:
    if not curves:
        return "<p>None yet.</p>"
    legend = "".join(_legend(i, name) for i, name in enumerate(names))
    charts = "".join(
        f'<figure class="chart" data-key="{escape(key)}"><h3>{escape(key)}</h3>'
        '<div class="read"></div></figure>'
        for key in curves
    )
    note = "The height leaves out the first twentieth of long curves, where losses fall from afar."
    return (
        f'<p class="note">{note}</p><div class="legend">{legend}</div>'
        f'<div class="charts">{charts}</div>'
    )


def _legend(i: int, name: str) -> str:
    style = _style(i)
    return (
        f'<label><input type="checkbox" value="{i}" checked> <svg width="36" height="10">'
        f'<line x1="0" x2="36" y1="5" y2="5" stroke="{style["colour"]}" stroke-width="3" '
        f'stroke-dasharray="{style["dash"]}"/></svg> {escape(name)}</label>'
    )


def _style(i: int) -> dict[str, str]:
    return {"colour": _COLOURS[i % len(_COLOURS)], "dash": _DASHES[i % len(_DASHES)]}


def _pictures(runs: Sequence[Run], names: Sequence[str]) -> str:
    found = [run.pictures for run in runs]
    kinds = sorted({kind for pictures in found for kind in pictures})
    rows = (
        f'<h3>{escape(kind)}</h3><div class="pictures">'
        + "".join(
            _picture(pictures[kind], name) if kind in pictures else _no_picture(name)
            for pictures, name in zip(found, names, strict=True)
        )
        + "</div>"
        for kind in kinds
    )
    return "".join(rows) or "<p>None yet.</p>"


def _picture(path: Path, name: str) -> str:
    source = f"data:image/png;base64,{b64encode(path.read_bytes()).decode()}"
    caption = f"{escape(name)}, epoch {int(path.stem.rpartition('_')[2])}"
    return (
        f'<figure><img src="{source}" alt="{escape(path.stem)}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _no_picture(name: str) -> str:
    return f"<figure><figcaption>{escape(name)}: none</figcaption></figure>"


def _data(curves: Curves, axis: str, runs: int) -> str:
    charts = {
        key: [[(x, y if math.isfinite(y) else None) for x, y in c] for c in group]
        for key, group in curves.items()
    }
    data = {"axis": axis, "styles": [_style(i) for i in range(runs)], "charts": charts}
    # A script element ends at the first "</script", wherever that stands.
    return json.dumps(data, allow_nan=False).replace("<", "\\u003c")
