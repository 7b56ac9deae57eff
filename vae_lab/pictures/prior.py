"""A prior beside the aggregate posterior."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from vae_lab.errors import LabError
from vae_lab.pictures.plane import (
    add_legend,
    check_labels,
    draw_points,
    explained,
    name_axes,
    project,
    rasterise,
)

__all__ = ["beside_prior"]

_SHARES = (0.1, 0.5, 0.9)
"""Parts of the prior that lie outside of its contours."""


def beside_prior(
    codes: Tensor,
    draws: Tensor,
    labels: Tensor | None = None,
    conditions: Tensor | None = None,
    log_density: Callable[[Tensor], Tensor] | None = None,
    title: str = "",
    density: str = "p(z)",
    names: Sequence[str] = (),
) -> Tensor:
    r"""Draw a prior beside the aggregate posterior, in one plane and at one scale.

    .. math:: q(z) = \frac{1}{N} \sum_n q(z | x_n)

    Where the two differ, samples of the prior are codes that the decoder has never seen. Codes of
    more than two dimensions, and the samples, are projected on the codes' first two principal
    components.

    Args:
        codes: Codes drawn from q(z|x), one per image, shape (N, D).
        draws: Codes drawn from the prior, shape (M, D).
        labels: Class indices of the images, shape (N,), or None for one colour.
        conditions: Class indices given to the prior, shape (M,), if any.
        log_density: Log-density of the prior at codes (n, 2), for contours around 90, 50 and 10 %.
        title: Title above both.
        density: The prior's name.
        names: Names of the classes; by default their indices.

    Returns:
        The figure, shape (3, H, W), in [0, 1].

    Raises:
        LabError: If codes differ in size, are too few, or are not finite.
    """
    check_labels(codes, labels)
    check_labels(draws, conditions)
    if codes.shape[1] != draws.shape[1] or len(codes) < 3:
        raise LabError("Codes and the prior's draws are of one size, and three at the least.")
    from matplotlib.figure import Figure

    codes, draws = codes.detach().float().cpu(), draws.detach().float().cpu()
    points, prior = _plane(codes, draws)
    low, high = _limits(torch.cat([points, prior]))
    figure = Figure(figsize=(14, 7), dpi=100, layout="compressed")
    figure.suptitle(title)
    around = "" if log_density is None else ", black around 90, 50 and 10 % of it"
    panels = (
        (f"{len(prior)} draws of the prior {density}{around}", prior, conditions),
        (f"codes of {len(points)} images, drawn from q(z|x)", points, labels),
    )
    for axes, (name, drawn, classes) in zip(figure.subplots(1, 2), panels, strict=True):
        axes.set(title=name)
        shares = explained(codes, points)  # of the codes, whose axes these are
        name_axes(axes, codes.shape[1], "codes' principal component", shares)
        draw_points(axes, drawn, classes, names)
        axes.set_xlim(low[0], high[0])
        if len(low) > 1:
            axes.set_aspect("equal", adjustable="box")
            axes.set_ylim(low[1], high[1])
        if log_density is not None:
            contours = _contours(log_density, low, high)
            axes.contour(*contours, colors="black", linestyles="solid", linewidths=1)
    add_legend(axes)
    return rasterise(figure)


def _plane(codes: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Project codes and draws on the first two principal components of the codes."""
    if codes.shape[1] <= 2:
        return project(codes), project(draws)
    from sklearn.decomposition import PCA

    pca = PCA(2, random_state=0).fit(codes.numpy())
    points, prior = (torch.from_numpy(pca.transform(z.numpy())).float() for z in (codes, draws))
    return points, prior


def _limits(points: Tensor) -> tuple[list[float], list[float]]:
    """Return the ends of a line, or the corners of a square, around all but a few outliers."""
    ends = points.quantile(torch.tensor([0.002, 0.998]), 0)
    centre, half = ends.mean(0), 0.6 * (ends[1] - ends[0]).max()
    return (centre - half).tolist(), (centre + half).tolist()


def _contours(
    log_density: Callable[[Tensor], Tensor], low: list[float], high: list[float]
) -> tuple[Any, Any, Any, list[float]]:
    """Return log-densities over a grid, and the levels that enclose the shares of the prior.

    Levels are computed from the grid, as samples would make them uncertain.
    """
    x, y = (torch.linspace(a, b, 200) for a, b in zip(low, high, strict=True))
    heights = log_density(torch.cartesian_prod(y, x).flip(1))
    falling = heights.sort(descending=True).values
    held = falling.double().exp().cumsum(0) * ((x[1] - x[0]) * (y[1] - y[0]))
    # If the prior extends beyond the grid, some shares have no level.
    places = [k for share in _SHARES if (k := int((held < 1 - share).sum())) < len(falling)]
    levels = sorted({falling[k].item() for k in places})
    return x.numpy(), y.numpy(), heights.view(200, 200).numpy(), levels
