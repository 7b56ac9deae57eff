"""Codes as points of the plane."""

import math
import warnings
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from vae_lab.errors import LabError
from vae_lab.pictures.canvas import from_bytes
from vae_lab.pictures.fonts import families
from vae_lab.pictures.names import medians, part_names, write_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "add_legend",
    "beside_pca",
    "check_labels",
    "draw_points",
    "explained",
    "name_axes",
    "palette",
    "project",
    "rasterise",
    "scatter",
]

Method = Literal["pca", "tsne"]

_TSNE_CODES = 5000

_KEY = 1.0
"""Inches beside the points that figures have for their legend."""

# Paul Tol's "muted" scheme stays apart under the common colour blindnesses; black is the tenth.
_COLOURS = (
    "#332288",
    "#DDCC77",
    "#CC6677",
    "#117733",
    "#88CCEE",
    "#882255",
    "#44AA99",
    "#999933",
    "#AA4499",
    "#000000",
)


def project(codes: Tensor, method: Method = "pca") -> Tensor:
    """Project codes, shape (N, D), to points in the plane, shape (N, 2), or on a line, (N, 1).

    Codes of one or two dimensions are not changed. Both methods are deterministic. t-SNE takes the
    first 5,000 codes and returns as many points.

    Args:
        codes: Codes, shape (N, D).
        method: Principal components, or t-SNE.

    Raises:
        LabError: If there are fewer than three codes to project, or one is not finite.

    References:
        van der Maaten and Hinton (2008). Visualizing Data using t-SNE.
    """
    if codes.ndim == 2 and codes.shape[1] <= 2:
        return codes.detach().float().cpu()
    if codes.ndim != 2 or len(codes) < 3 or not codes.isfinite().all():
        raise LabError("A projection needs at least three codes (N, D), all of them finite.")
    array = codes.detach().float().cpu().numpy()
    if method == "pca":
        from sklearn.decomposition import PCA

        # The seed matters for many dimensions only, where scikit-learn projects at random.
        points = PCA(2, random_state=0).fit_transform(array)
    else:
        from sklearn.manifold import TSNE

        array = array[:_TSNE_CODES]
        perplexity = min(30.0, (len(array) - 1) / 3)
        points = TSNE(2, perplexity=perplexity, random_state=0).fit_transform(array)
    return torch.from_numpy(points).float()


def scatter(
    codes: Tensor,
    labels: Tensor | None = None,
    names: Sequence[str] = (),
    method: Method = "pca",
    title: str = "",
) -> Tensor:
    """Draw codes as points coloured by class, each class named in a legend and near its median.

    Args:
        codes: Codes, shape (N, D).
        labels: Class indices, shape (N,), or None for one colour.
        names: Names of the classes; by default their indices.
        method: Projection of more than two dimensions, see `project`.
        title: Title, which follows the number of codes.

    Returns:
        The figure, shape (3, H, W), in [0, 1].

    Raises:
        LabError: If labels are not one class index per code, or `project` refuses the codes.
    """
    check_labels(codes, labels)
    from matplotlib.figure import Figure

    points = project(codes, method)
    figure = Figure(figsize=(9, 7.5), dpi=100, layout="constrained")
    drawn = f"codes of {len(points)} images"
    axes = figure.add_subplot(title=f"{drawn}, {title}" if title else drawn)
    if method == "pca":
        name_axes(axes, codes.shape[1], "principal component", explained(codes, points))
    else:
        name_axes(axes, codes.shape[1], "t-SNE")
    draw_points(axes, points, labels, names)
    add_legend(axes)
    return rasterise(figure)


def beside_pca(
    codes: Tensor, images: Tensor, labels: Tensor | None = None, names: Sequence[str] = ()
) -> Tensor:
    """Draw two-dimensional codes beside the first two principal components of the same images.

    If there are classes, each panel's title has the accuracy of a 5-nearest-neighbours vote.

    Args:
        codes: Codes, shape (N, 2).
        images: The encoded images, shape (N, ...).
        labels: Class indices, shape (N,), or None for one colour.
        names: Names of the classes; by default their indices.

    Returns:
        The figure, shape (3, H, W), in [0, 1].

    Raises:
        LabError: If codes do not have two dimensions or differ in number from images, labels are
            not one class index per code, or codes or images are not finite.

    References:
        Hinton & Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, 2006,
        figure 3. https://doi.org/10.1126/science.1127647
    """
    check_labels(codes, labels)
    if codes.shape != (len(images), 2):
        raise LabError(
            f"Codes beside PCA are two numbers for each of {len(images)} images, "
            f"not of shape {tuple(codes.shape)}."
        )
    from matplotlib.figure import Figure

    pixels = images.flatten(1)
    planes = (
        ("codes", codes, codes.detach().float().cpu()),
        ("principal components of the pixels", pixels, project(pixels)),
    )
    figure = Figure(figsize=(14, 7), dpi=100, layout="constrained")
    for axes, (name, of, points) in zip(figure.subplots(1, 2), planes, strict=True):
        axes.set(title=name + _neighbours(points, labels))
        name_axes(axes, of.shape[1], "component", explained(of, points))
        draw_points(axes, points, labels, names)
    add_legend(axes)
    return rasterise(figure)


def _neighbours(points: Tensor, labels: Tensor | None, k: int = 5) -> str:
    """Return a text on how well each point's neighbours predict its class."""
    if labels is None or len(points) <= k or len(torch.unique(labels)) < 2:
        return ""
    from sklearn.neighbors import NearestNeighbors

    # Without arguments it excludes each point from its own neighbours.
    near = NearestNeighbors(n_neighbors=k).fit(points.numpy()).kneighbors(return_distance=False)
    labels = labels.cpu()
    accuracy = (labels[torch.from_numpy(near)].mode(1).values == labels).float().mean()
    return f"\n{k}-NN accuracy {accuracy:.3f}, each of {len(points)} points left out in turn"


def check_labels(codes: Tensor, labels: Tensor | None) -> None:
    """Refuse labels that are not one class index per code, and codes that are not finite.

    Raises:
        LabError: If either is the case.
    """
    if labels is not None and labels.shape != codes.shape[:1]:
        raise LabError(
            f"A scatter of {len(codes)} codes needs as many class indices, "
            f"not labels of shape {tuple(labels.shape)}."
        )
    if not codes.isfinite().all():
        raise LabError("Codes that are not finite cannot be drawn; the model has diverged.")


def add_legend(axes: "Axes") -> None:
    """Add a legend of the classes to the right of the axes, if there are several."""
    if classes := len(axes.get_legend_handles_labels()[1]):
        # A column of more than 25 would be higher than the figure.
        axes.legend(
            title="class",
            loc="center left",
            bbox_to_anchor=(1, 0.5),
            markerscale=2,
            ncols=math.ceil(classes / 25),
        )


def explained(codes: Tensor, points: Tensor) -> list[float]:
    """Return the shares of the variance of codes (N, D) along the axes of their points."""
    whole = codes.detach().double().cpu().var(0).sum()
    return (points.double().var(0) / whole).nan_to_num().tolist()


def name_axes(axes: "Axes", dimensions: int, projected: str, shares: Sequence[float] = ()) -> None:
    """Label the axes of points from `project`, given the dimensions of the codes.

    Args:
        axes: The axes.
        dimensions: Dimensions of a code; up to two are the axes themselves.
        projected: Name of the axes of more dimensions.
        shares: Share of the codes' variance along each axis, if known.
    """
    names = [f"z{k}" if dimensions <= 2 else f"{projected} {k}" for k in (1, 2)]
    if dimensions > 2 and shares:
        names = [f"{n}, {s:.0%} of the variance" for n, s in zip(names, shares, strict=True)]
    axes.set_xlabel(names[0])
    if dimensions == 1:
        axes.set(yticks=[], ylabel="no axis: spread out, by class")
    else:
        axes.set_ylabel(names[1])


def rasterise(figure: "Figure") -> Tensor:
    """Render a figure to an image, shape (3, H, W), in [0, 1]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    # Directly from the renderer's memory: a PNG in between would take as long as the drawing.
    canvas: Any = FigureCanvasAgg(figure)  # matplotlib has no types for it
    _name(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # `families` reports it once
        _lay_out(figure, canvas.get_renderer())
        canvas.draw()
    return from_bytes(np.array(canvas.buffer_rgba())[..., :3])


def _lay_out(figure: "Figure", renderer: Any) -> None:
    """Run a figure's layout once: it takes as long as the drawing."""
    _widen(figure, renderer)
    if layout := figure.get_layout_engine():
        layout.execute(figure)
        figure.set_layout_engine("none")  # else the drawing would do it again
    for axes in figure.axes:
        axes.apply_aspect()
    part_names(figure)


def _widen(figure: "Figure", renderer: Any) -> None:
    """Widen a figure by the width of a legend of long names."""
    keys = [(axes, legend) for axes in figure.axes if (legend := axes.get_legend())]
    boxes = [(axes.bbox, legend.get_window_extent(renderer)) for axes, legend in keys]
    width = max((box.width for points, box in boxes if box.x0 >= points.x1), default=0.0)
    figure.set_figwidth(figure.get_figwidth() + max(0.0, width / figure.dpi - _KEY))


def _name(figure: "Figure") -> None:
    """Choose fonts with the names' letters, and do not parse `$a$` as mathematics."""
    written = [*figure.texts]
    for axes in figure.axes:
        legend = axes.get_legend()
        written += [axes.title, *axes.texts, *(legend.get_texts() if legend else ())]
    fonts = families(text.get_text() for text in written)
    for text in written:
        # matplotlib does not accept folder names that are not Unicode.
        text.set_text(text.get_text().encode("utf-8", "replace").decode())
        text.set_parse_math(False)
        text.set_fontfamily(fonts)


def draw_points(
    axes: "Axes", points: Tensor, labels: Tensor | None, names: Sequence[str] = ()
) -> None:
    """Draw points of the plane or of a line, coloured by class, with names near medians."""
    if points.shape[1] == 1:
        points = _in_rows(points, labels)
    else:
        axes.set_aspect("equal", adjustable="datalim")
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    size = max(3.0, min(30.0, 2e4 / len(points)))
    x, y = points[:, 0].numpy(), points[:, 1].numpy()
    draw = partial(axes.scatter, x, y, s=size, linewidths=0)
    if labels is None:
        draw(color="0.35")  # not the colour of a class
        return
    classes = labels[: len(points)].cpu().long()
    places = medians(points, classes)
    # A class keeps its colour if others are absent.
    colours = palette(max(len(names), int(classes.max()) + 1))
    # One call, in the order of the codes, so that no class hides the others.
    draw(c=[colours[k] for k in classes.tolist()])
    if len(places) > 1:
        written = [names[k] if names else str(k) for k in places]
        for k, name in zip(places, written, strict=True):
            # A legend omits labels that begin with an underscore, as a folder's name may.
            axes.scatter([], [], s=30, color=colours[k], label=f" {name}")
        write_names(axes, written, places.values())


def _in_rows(points: Tensor, labels: Tensor | None) -> Tensor:
    """Spread points of a line (N, 1) vertically: one row per class, the first one on top."""
    rows = points.new_zeros(len(points)) if labels is None else -labels.cpu().float()
    # Multiples of the golden ratio fill a row evenly, for any number of points.
    heights = torch.arange(len(points), dtype=torch.double) * 0.6180339887 % 1 - 0.5
    return torch.stack([points[:, 0], rows + 0.7 * heights.float()], 1)


def palette(classes: int) -> Sequence[str]:
    """Return at least as many colours as classes, for colour-blind readers too."""
    if classes <= len(_COLOURS):
        return _COLOURS
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["viridis"](k / (classes - 1))) for k in range(classes)]
