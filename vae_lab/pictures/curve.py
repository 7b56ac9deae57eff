"""Curves against iterations or images seen."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from vae_lab.errors import LabError
from vae_lab.pictures.plane import rasterise

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Panel", "curve", "panels"]

_SETTLED = 0.1
"""Share of training after which a curve has settled, and must lie within the axes."""

# Distinguished by width too; the thin one is drawn on top.
_STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#88CCEE", "linewidth": 1.2, "zorder": 3},
    {"color": "#332288", "linewidth": 2.2},
)


@dataclass(frozen=True)
class Panel:
    """Curves of one run.

    Attributes:
        title: What distinguishes the run from the others.
        curves: (position, value) pairs for each of two names; the first curve is thin.
    """

    title: str
    curves: Mapping[str, Sequence[tuple[float, float]]]


def curve(values: Tensor, name: str, title: str = "") -> Tensor:
    """Draw one number per iteration, counted from 1, with the last value as text.

    Args:
        values: The numbers, shape (N,).
        name: Name of the numbers.
        title: Title of the picture.

    Returns:
        The figure, shape (3, H, W), in [0, 1].

    Raises:
        LabError: If there is no number, or one is not finite.
    """
    if values.ndim != 1 or not len(values) or not values.isfinite().all():
        raise LabError("A curve needs at least one number (N,), all of them finite.")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), dpi=100, layout="constrained")
    axes = figure.add_subplot(title=title, xlabel="iteration", ylabel=name)
    points = values.detach().cpu().tolist()
    axes.plot(range(1, len(points) + 1), points, color="#332288", marker=".")
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.locator_params("x", integer=True)
    # Below the point, where a rising curve leaves room.
    end = len(points), points[-1]
    axes.annotate(f"{points[-1]:.2f}", end, (0, -18), textcoords="offset points", ha="right")
    return rasterise(figure)


def panels(runs: Sequence[Panel], name: str, axis: str, shared: bool = True) -> Tensor:
    """Draw curves over a logarithmic axis, one panel per run.

    Args:
        runs: The runs' panels.
        name: Name of the numbers.
        axis: Name of the horizontal axis.
        shared: Whether all panels have the same vertical scale.

    Returns:
        The figure, shape (3, H, W), in [0, 1].

    Raises:
        LabError: If there is no curve.
    """
    if not any(curve for run in runs for curve in run.curves.values()):
        raise LabError(f"There is no curve of {name} to draw yet.")
    from matplotlib.figure import Figure

    columns = min(3, math.ceil(math.sqrt(len(runs))))
    rows = math.ceil(len(runs) / columns)
    figure = Figure(figsize=(4.6 * columns, 3.6 * rows), dpi=100, layout="constrained")
    grid = [*figure.subplots(rows, columns, sharex=shared, sharey=shared, squeeze=False).flat]
    for axes, run in zip(grid, runs, strict=False):
        _panel(axes, run)
        axes.set_ylim(*_limits(runs if shared else [run]))
        _few_ticks(axes, runs if shared else [run])
        axes.tick_params(labelbottom=True)  # also if there is no panel below
    for axes in grid[len(runs) :]:
        axes.remove()
    figure.supxlabel(axis)
    figure.supylabel(name)
    return rasterise(figure)


def _panel(axes: "Axes", run: Panel) -> None:
    axes.set(title=run.title, xscale="log")
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    for (name, curve), style in zip(run.curves.items(), _STYLES, strict=False):
        # A line of one point would be invisible.
        marker = "o" if len(curve) == 1 else None
        axes.plot([x for x, _ in curve], [y for _, y in curve], **style, marker=marker, label=name)
    axes.legend(loc="best")


def _few_ticks(axes: "Axes", runs: Iterable[Panel]) -> None:
    """Label only the ends if there are fewer than two powers of ten between them."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    # Position 0 has no logarithm.
    positions = [x for run in runs for curve in run.curves.values() for x, _ in curve if x > 0]
    low, high = min(positions, default=1), max(positions, default=10)
    if math.ceil(math.log10(low)) >= math.floor(math.log10(high)):
        axes.set_xticks(sorted({low, high}))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())


def _limits(runs: Iterable[Panel]) -> tuple[float, float]:
    """Return the lowest and highest value of the settled curves, with a margin."""
    values = [
        value
        for run in runs
        for curve in run.curves.values()
        for position, value in curve
        if position >= _SETTLED * curve[-1][0] and math.isfinite(value)
    ]
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin
