"""Sheets of images decoded from codes."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from vae_lab.errors import LabError
from vae_lab.pictures.canvas import WIDTH, captioned, grid, short

__all__ = [
    "Decode",
    "columns_of",
    "gallery",
    "interpolation",
    "inversions",
    "manifold",
    "neighbours",
    "reconstructions",
    "restorations",
    "samples",
    "traversal",
]

Decode = Callable[[Tensor], Tensor]
"""Maps codes (N, D) to images (N, C, H, W)."""


def reconstructions(x: Tensor, x_hat: Tensor) -> Tensor:
    """Draw rows of inputs, each above the row of their reconstructions.

    Args:
        x: Inputs, shape (N, C, H, W). The title says so if they are binary, as with `binarize`.
        x_hat: Reconstructions, same shape.

    Raises:
        LabError: If the shapes differ.
    """
    binary = bool(((x == 0) | (x == 1)).all())
    title = ("binary " if binary else "") + "inputs over their reconstructions"
    return _rows({"input": x, "output": x_hat}, title)


def restorations(clean: Tensor, corrupted: Tensor, restored: Tensor, title: str = "") -> Tensor:
    """Draw rows of images, corrupted images, and restored images.

    Args:
        clean: Images, shape (N, C, H, W).
        corrupted: The model's inputs, same shape.
        restored: Its outputs, same shape.
        title: One line above all.

    Raises:
        LabError: If the shapes differ.
    """
    return _rows({"clean": clean, "corrupted": corrupted, "restored": restored}, title)


def neighbours(images: Tensor, nearest: Tensor) -> Tensor:
    """Draw rows of samples, each above the row of their nearest training images.

    Args:
        images: Samples, shape (N, C, H, W).
        nearest: The image nearest to each, same shape.

    Raises:
        LabError: If the shapes differ.
    """
    title = "samples over the training images nearest to them, by distance of pixels"
    return _rows({"sample": images, "nearest": nearest}, title)


def inversions(target: Tensor, found: Mapping[str, Tensor]) -> Tensor:
    """Draw rows of images, of decoded codes, and of their differences.

    Args:
        target: Images, shape (N, C, H, W).
        found: Decoded images of the same shape, by the origin of their codes.

    Raises:
        LabError: If the shapes differ.
    """
    rows = {"target": target}
    for name, images in found.items():
        rows |= {name: images, f"{name} - target": 0.5 + 0.5 * (images - target)}
    title = "differences: grey where a pixel is as it should be, white where it is too bright"
    return _rows(rows, title)


def gallery(x: Tensor, restored: Mapping[str, Tensor], drawn: Mapping[str, Tensor]) -> Tensor:
    """Draw rows of images, of each model's reconstructions, and of each model's samples.

    Args:
        x: Images, shape (N, C, H, W).
        restored: Reconstructions by the model's name, same shape.
        drawn: Samples by the model's name, same shape.

    Raises:
        LabError: If the shapes differ.

    References:
        Larsen et al. (2016). Autoencoding beyond pixels using a learned similarity metric.
        Figures 3 and 4.
    """
    rows = {f"{name} draws": images for name, images in drawn.items()}
    return _rows({"input": x, **restored, **rows}, "images, their reconstructions, and samples")


def _rows(named: Mapping[str, Tensor], title: str = "") -> Tensor:
    """Draw one row per tensor of images, labelled by its name, in as many blocks as needed."""
    if len({x.shape for x in named.values()}) > 1:
        shapes = " and ".join(f"{name} {tuple(x.shape)}" for name, x in named.items())
        raise LabError(f"The shapes of images do not match: {shapes}.")
    first = next(iter(named.values()))
    columns = columns_of(first, at_most=10)
    missing = first.new_ones(-len(first) % columns, *first.shape[1:])
    rows = [torch.split(torch.cat([x, missing.to(x)]), columns) for x in named.values()]
    turns = [row for turn in zip(*rows, strict=True) for row in turn]
    return captioned(grid(torch.cat(turns), columns), title=title, rows=[*named] * len(rows[0]))


def samples(images: Tensor, title: str = "samples", width: int = WIDTH) -> Tensor:
    """Draw samples, shape (N, C, H, W), in a nearly square grid."""
    columns = columns_of(images, at_most=math.ceil(math.sqrt(len(images))))
    return captioned(grid(images, columns, width=width), title)


def columns_of(images: Tensor, at_most: int) -> int:
    """Return how many images (N, C, H, W) fit side by side."""
    return max(1, min(len(images), at_most, WIDTH // images.shape[-1]))


def manifold(
    decode: Decode,
    side: int = 20,
    codes: Tensor | None = None,
    of: str = "the codes",
) -> Tensor:
    r"""Decode a square grid of codes at equally spaced quantiles of the standard normal prior.

    With $n$ images a side, the one $i$ rows from the bottom and $j$ columns from the left shows
    $z = (\Phi^{-1}(\frac{j + 1/2}{n}), \Phi^{-1}(\frac{i + 1/2}{n}))$, $i, j = 0, ..., n - 1$: z1
    grows from left to right and z2 from bottom to top, as on a graph.

    Args:
        decode: Maps codes (N, 2) to images.
        side: Images per side.
        codes: Codes (M, 2) whose quantiles replace the standard normal's, if a model has another
            prior or none.
        of: Name of those codes in the title.

    References:
        Kingma and Welling (2014). Auto-Encoding Variational Bayes. Figure 4.
    """
    shares = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    if codes is None:
        # The quantile of an fp32 probability near 0 or 1 is coarse.
        axes = torch.special.ndtri(shares).float().expand(2, -1)
    else:
        axes = codes.detach().float().cpu().quantile(shares.float(), 0).T
    z2, z1 = torch.meshgrid(axes[1].flip(0), axes[0], indexing="ij")
    image = grid(_decode(decode, torch.stack([z1, z2], -1).view(-1, 2)), side, gap=1)
    columns, rows = ([f"{v:.2f}" for v in axis.tolist()] for axis in axes)
    whose = "N(0, 1)" if codes is None else of
    title = f"manifold: z1 from left to right, z2 from bottom to top, at quantiles of {whose}"
    return captioned(image, title, rows=rows[::-1], columns=columns)


def traversal(
    decode: Decode,
    codes: Tensor,
    span: float = 3.0,
    steps: int = 11,
    dims: Sequence[int] | None = None,
    limits: Tensor | None = None,
) -> Tensor:
    """Vary one latent dimension per row, with the others as in the base code.

    Args:
        decode: Maps codes (N, D) to images.
        codes: Base code, shape (D,), or several, shape (B, D), each with its own rows.
        span: The dimension takes `steps` evenly spaced values from `-span` to `span`.
        steps: Images per row.
        dims: Indices, from 0, of the dimensions to vary; by default all.
        limits: Lowest and highest value of each dimension, shape (2, D), instead of `span`.

    Raises:
        LabError: If a dimension lies outside the code.
    """
    base = codes.detach().view(-1, codes.shape[-1])
    dims = range(base.shape[1]) if dims is None else dims
    if outside := [d for d in dims if not 0 <= d < base.shape[1]]:
        raise LabError(f"Dimensions {outside} lie outside a code of size {base.shape[1]}.")
    low, high = torch.tensor([[-span], [span]]).expand(2, base.shape[1]).to(base)
    if limits is not None:
        low, high = limits.to(base)
    shares = torch.linspace(0, 1, steps).to(base)
    z = base[:, None, None].repeat(1, len(dims), steps, 1)
    for row, d in enumerate(dims):
        z[:, row, :, d] = torch.lerp(low[d], high[d], shares)
    image = grid(_decode(decode, z.flatten(0, 2)), steps)
    title, names = "traversal: each row moves one latent", [f"z{d + 1}" for d in dims]
    if limits is None:
        columns = [short(value) for value in torch.linspace(-span, span, steps).tolist()]
        return captioned(image, f"{title} from {-span:g} to {span:g}", names * len(base), columns)
    # Each dimension has its own scale.
    ends = [f"{name}: {low[d]:.2g} to {high[d]:.2g}" for name, d in zip(names, dims, strict=True)]
    return captioned(image, f"{title} as far as said beside it", ends * len(base))


def interpolation(decode: Decode, start: Tensor, end: Tensor, steps: int = 11) -> Tensor:
    """Interpolate linearly from one code to another, one row per pair.

    Args:
        decode: Maps codes (N, D) to images.
        start: First codes, shape (B, D).
        end: Last codes, shape (B, D).
        steps: Images per row, including both ends.

    Raises:
        LabError: If the shapes differ.
    """
    if start.shape != end.shape:
        raise LabError(f"Codes {tuple(start.shape)} and {tuple(end.shape)} do not pair up.")
    weights = torch.linspace(0, 1, steps).to(start)
    z = torch.lerp(start[:, None], end[:, None], weights[None, :, None])
    image = grid(_decode(decode, z.flatten(0, 1)), steps)
    title = "interpolation: in a straight line from one code (0) to another (1)"
    names = [f"pair {i + 1}" for i in range(len(start))]
    return captioned(image, title, rows=names, columns=[short(w) for w in weights.tolist()])


@torch.no_grad()
def _decode(decode: Decode, z: Tensor) -> Tensor:
    return decode(z)
