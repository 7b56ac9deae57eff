"""Pictures of models: pure functions from tensors to one image.

Every function returns an RGB image with captions, shape (3, H, W), in [0, 1], for `save_png` and
for any logger. None uses torch's random stream, so a picture does not affect training.

A `decode` maps codes (N, D) to images (N, C, H, W) and is called once per picture. Codes made here
are fp32 on the CPU: for a model on another device, pass `lambda z:
model.decode(z.to(model.device))`. Latent dimensions are counted from one: z1 is `codes[:, 0]`.
"""

from vae_lab.pictures.canvas import (
    WIDTH,
    beside,
    captioned,
    grid,
    save_png,
    signed,
    stacked,
    to_png,
)
from vae_lab.pictures.clusters import clusters
from vae_lab.pictures.codes import code_sweep
from vae_lab.pictures.conditional import class_rows, completions, transfer
from vae_lab.pictures.curve import Panel, curve, panels
from vae_lab.pictures.filters import filters, first_layer
from vae_lab.pictures.plane import beside_pca, project, scatter
from vae_lab.pictures.prior import beside_prior
from vae_lab.pictures.sheets import (
    gallery,
    interpolation,
    inversions,
    manifold,
    neighbours,
    reconstructions,
    restorations,
    samples,
    traversal,
)

__all__ = [
    "WIDTH",
    "Panel",
    "beside",
    "beside_pca",
    "beside_prior",
    "captioned",
    "class_rows",
    "clusters",
    "code_sweep",
    "completions",
    "curve",
    "filters",
    "first_layer",
    "gallery",
    "grid",
    "interpolation",
    "inversions",
    "manifold",
    "neighbours",
    "panels",
    "project",
    "reconstructions",
    "restorations",
    "samples",
    "save_png",
    "scatter",
    "signed",
    "stacked",
    "to_png",
    "transfer",
    "traversal",
]
