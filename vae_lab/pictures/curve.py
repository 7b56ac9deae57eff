"""A number against the iterations that moved it."""

from torch import Tensor

from vae_lab.errors import LabError
from vae_lab.pictures.plane import rasterise

__all__ = ["curve"]


def curve(values: Tensor, name: str, title: str = "", axis: str = "iteration") -> Tensor:
    """Draw one number an iteration, the first one as 1, with the last one written beside it.

    Args:
        values: The numbers, shape (N,).
        name: What they are.
        title: What the picture shows.
        axis: What they are counted by.

    Returns:
        The figure, shape (3, H, W), in [0, 1].

    Raises:
        LabError: If there is no number, or one is not finite.
    """
    if values.ndim != 1 or not len(values) or not values.isfinite().all():
        raise LabError("A curve needs at least one number (N,), all of them finite.")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), dpi=100, layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=axis, ylabel=name)
    points = values.detach().cpu().tolist()
    axes.plot(range(1, len(points) + 1), points, color="#332288", marker=".")
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    # Below the point, since a curve that rises leaves the room there.
    end = len(points), points[-1]
    axes.annotate(f"{points[-1]:.2f}", end, (0, -18), textcoords="offset points", ha="right")
    return rasterise(figure)
