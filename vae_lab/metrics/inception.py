"""Inception features, which published Fréchet distances are based on."""

from pathlib import Path

import torch
from torch import Tensor, nn

from vae_lab.errors import LabError
from vae_lab.files import digest

__all__ = ["Inception"]

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
SOURCE = f"github.com/toshas/torch-fidelity/releases/download/v0.2.0/{WEIGHTS}"


class Inception(nn.Module):
    """Returns the 2048 pooled features of the network that defines the Fréchet distance.

    Grey images are repeated in three channels. All are scaled to 299 x 299 as in TensorFlow 1,
    like those of published numbers; torchmetrics scales differently.

    Raises:
        LabError: If torch-fidelity is not installed, or its weights can neither be read nor
            downloaded.

    References:
        Szegedy et al., Rethinking the Inception Architecture, 2016.
        https://arxiv.org/abs/1512.00567
    """

    latent_dim = 2048

    def __init__(self) -> None:
        from torchmetrics.image.fid import NoTrainInceptionV3

        super().__init__()
        path = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
        try:
            self.net = NoTrainInceptionV3("inception-v3-compat", ["2048"], antialias=False)
        except ModuleNotFoundError as error:
            raise LabError(
                "Inception needs a package that is not here: pip install -e '.[inception]'."
            ) from error
        except OSError as error:
            raise LabError(
                f"Inception's weights could not be fetched ({error}); put the file of {SOURCE} at "
                f"{path}."
            ) from error
        self.requires_grad_(False)
        self.digest = digest(path)

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return next(self.parameters()).device

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the features of images (B, 1 or 3, H, W) in [0, 1], shape (B, 2048)."""
        grey_levels = (x * 255).round().clamp(0, 255).byte()
        features: Tensor = self.net(grey_levels.expand(-1, 3, -1, -1))
        return features
