"""Pictures of what a model learned: pure functions from tensors to one image.

Every function returns an RGB image, shape (3, H, W), in [0, 1], with its captions drawn in, ready
for `save_png` and for any logger. None draws a random number from torch's stream, so a picture
never moves a training run.

A `decode` maps codes (N, D) to images (N, C, H, W) and is called once a picture. Codes made here
are fp32 on the CPU: a model elsewhere takes `lambda z: model.decode(z.to(model.device))`. Latent
dimensions are named from one: z1 is `codes[:, 0]`.
"""

from vae_lab.pictures.canvas import captioned, grid, save_png, to_png
from vae_lab.pictures.plane import project, scatter
from vae_lab.pictures.sheets import (
    interpolation,
    manifold,
    reconstructions,
    samples,
    traversal,
)

__all__ = [
    "captioned",
    "grid",
    "interpolation",
    "manifold",
    "project",
    "reconstructions",
    "samples",
    "save_png",
    "scatter",
    "to_png",
    "traversal",
]
