"""The page of `lab compare --html`: one file that needs no network, and a phone to read it."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from vae_lab.runs import Run
from vae_lab.verbs.comparing.comparison import Comparison
from vae_lab.verbs.comparing.grouping import Groups
from vae_lab.verbs.comparing.pictures import LIMIT, timeline
from vae_lab.verbs.embedded import script_data

__all__ = ["curves_of", "page", "thinned"]

# Okabe and Ito's colours without the faint yellow; with the dashes, 28 runs look different.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DASHES = ("", "7 3", "2 2", "9 3 2 3")

_SCRIPTS = ("page.js", "views.js")


def page(comparison: Comparison, groups: Groups | None = None) -> str:
    """Return the page that shows a comparison, after the means of its groups if there are any.

    Raises:
        LabError: If a run's metrics are damaged.
    """
    curves, axis = curves_of(comparison.runs)
    pictures = timeline(comparison.runs, LIMIT)
    names = [f"{i}. {name}" for i, name in enumerate(comparison.names, 1)]
    data = _data(comparison, names, curves, axis) | {"pictures": pictures.data()}
    parts = {
        "title": "1 run" if len(names) == 1 else f"{len(names)} runs side by side",
        "settings": _settings(comparison, names),
        "metrics": _grouped(groups) + _metrics(comparison, names),
        "legend": "".join(_legend(i, name) for i, name in enumerate(names)),
        "curves": _charts(curves),
        "left out": pictures.left_out,
        "data": script_data(data),
        "scripts": "".join(map(_packaged, _SCRIPTS)),
    }
    head, *rest = _packaged("page.html").split("<!--")
    # Splitting first keeps a name that looks like a mark from being taken for one.
    return head + "".join(
        parts[mark] + after for mark, _, after in (piece.partition("-->") for piece in rest)
    )


def _settings(comparison: Comparison, names: Sequence[str]) -> str:
    if not comparison.settings:
        return "<p>None.</p>"
    return _runs_table(comparison.settings, names, map(_plain, comparison.settings.values()))


def _plain(texts: Iterable[str]) -> list[str]:
    return [f"<td>{escape(text)}</td>" for text in texts]


def _grouped(groups: Groups | None) -> str:
    if groups is None:
        return ""
    columns = groups.settings | {c.key: list(c.texts) for c in groups.columns}
    rows = [f"<tr><th>{_breakable(name)}</th>" for name in groups.names]
    table = _table(columns, rows, map(_plain, columns.values()))
    return f"<h3>mean ± standard deviation</h3>{table}<h3>runs</h3>"


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
    return _runs_table([c.key for c in comparison.columns], names, columns)


def _runs_table(
    heads: Iterable[str], names: Sequence[str], columns: Iterable[Sequence[str]]
) -> str:
    rows = [f'<tr data-run="{i}"><th>{_breakable(name)}</th>' for i, name in enumerate(names)]
    return _table(heads, rows, columns)


def _table(heads: Iterable[str], rows: Sequence[str], columns: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th><button>{_breakable(h)}</button></th>" for h in ["run", *heads])
    body = "".join(f"{''.join(cells)}</tr>" for cells in zip(rows, *columns, strict=True))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def _breakable(name: str) -> str:
    return escape(name).replace("_", "_<wbr>").replace("/", "/<wbr>")


Curve = list[tuple[float, float]]
"""Positions and values."""

Curves = dict[str, list[Curve]]
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


def _charts(curves: Curves) -> str:
    if not curves:
        return "<p>None yet.</p>"
    charts = "".join(
        f'<figure class="chart" data-key="{escape(key)}"><h3>{escape(key)}</h3>'
        '<div class="read"></div></figure>'
        for key in curves
    )
    note = "The height leaves out the first twentieth of long curves, where losses fall from afar."
    return f'<p class="note">{note}</p><div class="charts">{charts}</div>'


def _legend(i: int, name: str) -> str:
    style = _style(i)
    return (
        f'<label data-run="{i}"><input type="checkbox" value="{i}" checked> '
        f'<svg width="36" height="10" aria-hidden="true">'
        f'<line x1="0" x2="36" y1="5" y2="5" stroke="{style["colour"]}" stroke-width="3" '
        f'stroke-dasharray="{style["dash"]}"/></svg> {escape(name)}</label>'
    )


def _style(i: int) -> dict[str, str]:
    return {"colour": _COLOURS[i % len(_COLOURS)], "dash": _DASHES[i % len(_DASHES)]}


def _data(
    comparison: Comparison, names: Sequence[str], curves: Curves, axis: str
) -> dict[str, Any]:
    return {
        "names": names,
        "styles": [_style(i) for i in range(len(names))],
        "axis": axis,
        "charts": {
            key: [[(x, _finite(y)) for x, y in thinned(c)] for c in group]
            for key, group in curves.items()
        },
        "settings": comparison.settings,
        "metrics": {
            c.key: {"values": [_finite(v) for v in c.values], "better": c.direction}
            for c in comparison.columns
        },
        "chosen": comparison.sorted_by,
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def thinned(curve: Curve, most: int = 800) -> Curve:
    """Return about `most` points of a curve, with its ends, peaks, troughs and gaps."""
    if len(curve) <= most:
        return curve
    size = math.ceil(2 * len(curve) / most)
    kept = [curve[0]]
    for i in range(0, len(curve), size):
        part = curve[i : i + size]
        gap = [p for p in part if not math.isfinite(p[1])][:1]
        known = [p for p in part if math.isfinite(p[1])] or gap
        ends = min(known, key=lambda p: p[1]), max(known, key=lambda p: p[1])
        kept += sorted({*ends, *gap} - {kept[-1]})
    return [*kept, *({curve[-1]} - {kept[-1]})]


def _packaged(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
