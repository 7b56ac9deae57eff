"""Deterministic autoencoders: plain, deep, denoising, sparse, contractive."""

from collections.abc import Callable

import torch
from torch import Tensor

from vae_lab.arguments import at_least
from vae_lab.contracts import Batch, Shape
from vae_lab.corruptions import Corruption
from vae_lab.errors import LabError
from vae_lab.likelihoods import Bernoulli, Likelihood
from vae_lab.losses import keep_largest, squared_distance
from vae_lab.models.base import MakeDecoder, MakeEncoder, Schedule
from vae_lab.models.single import SingleObjective
from vae_lab.nets import MLPDecoder, MLPEncoder, TiedDecoder, encoded, make_activation, tried
from vae_lab.penalties import Penalty
from vae_lab.precision import at_least_single

__all__ = ["Autoencoder"]


class Autoencoder(SingleObjective):
    r"""Encodes images to codes and decodes these to reconstructions.

    .. math:: \min_{f, g}\; \mathbb{E}_{\tilde x | x} [- \log p(x | g(f(\tilde x)))]
        + \Omega(f)

    With a Gaussian likelihood of fixed scale the loss is the squared error, with a Bernoulli one
    the cross-entropy; the squared error is logged with either. A `corruption` gives a denoising
    autoencoder, a `penalty` a sparse or contractive one, `top_k` a k-sparse one.

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        latent_dim: Size of the code.
        encoder: Network from images to codes.
        decoder: Network from codes to images.
        likelihood: p(x|z), parametrised by the decoder's output; its negative log is minimised.
        activation: Activation of the code, a name in torch.nn; Sigmoid makes the code a classical
            hidden layer.
        top_k: How many of each code's largest units are kept; by default all.
        tied: Decode with the encoder's transposed weights instead of `decoder`; for fully
            connected encoders.
        corruption: Corruption of the encoder's input; the clean image is the target.
        penalty: Penalty on the code, added to the loss.
        lr: Learning rate of Adam.
        schedule: Learning-rate schedule of torch.optim.lr_scheduler, stepped once an epoch.

    Raises:
        LabError: If a size is not positive, `top_k` exceeds the code's size, or `tied` or
            `penalty` does not fit the encoder, likelihood or activation.

    References:
        Hinton & Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, 2006.
        https://doi.org/10.1126/science.1127647
        Vincent et al., Stacked Denoising Autoencoders, 2010.
        https://www.jmlr.org/papers/v11/vincent10a.html
        Rifai et al., Contractive Auto-Encoders, 2011.
        https://icml.cc/2011/papers/455_icmlpaper.pdf
        Makhzani & Frey, k-Sparse Autoencoders, 2014. https://arxiv.org/abs/1312.5663
    """

    def __init__(
        self,
        shape: Shape,
        latent_dim: int = 30,
        encoder: MakeEncoder = MLPEncoder,
        decoder: MakeDecoder = MLPDecoder,
        likelihood: Callable[[], Likelihood] = Bernoulli,
        activation: str = "Identity",
        top_k: int | None = None,
        tied: bool = False,
        corruption: Callable[[], Corruption] | None = None,
        penalty: Callable[[], Penalty] | None = None,
        lr: float = 1e-3,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(shape, lr, schedule)

        at_least(1, latent_dim=latent_dim)
        if top_k is not None and not 1 <= top_k <= latent_dim:
            raise LabError(f"top_k keeps between 1 and all {latent_dim} units; got {top_k}.")
        self.latent_dim = latent_dim
        self.top_k = top_k
        self.likelihood = likelihood()
        self.activation = make_activation(activation)
        self.corruption = corruption and corruption()
        self.penalty = penalty and penalty()
        if self.penalty is not None:
            self.penalty.check(self)

        self.encoder = tried(encoder(shape, latent_dim), shape, (latent_dim,))
        channels, height, width = shape
        output = (self.likelihood.outputs(channels), height, width)
        self.decoder = (
            TiedDecoder(self.encoder, output)
            if tied
            else tried(decoder(latent_dim, output), (latent_dim,), output)
        )

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the codes of images (B, C, H, W), shape (B, latent_dim)."""
        code: Tensor = self.activation(encoded(self.encoder, x, self.latent_dim))
        return code if self.top_k is None else keep_largest(code, self.top_k)

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the images of codes (B, latent_dim), shape (B, C, H, W), in [0, 1]."""
        return self.likelihood.mean(self.decoder(z))

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstructions of images (B, C, H, W)."""
        return self.decode(self.encode(x))

    def corrupt(self, x: Tensor) -> Tensor:
        """Corrupt images (B, C, H, W) as in training, from the global random stream."""
        return x if self.corruption is None else self.corruption(x)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        x = self.corrupt(batch.x)
        code = self.encode(x)
        terms = self.restoration(self.decoder(code), batch.x)
        if self.corruption is not None:
            terms["restored_squared_error"] = terms.pop("squared_error")
            if not self.training:
                # Of clean images, as for any other autoencoder.
                clean = self.restoration(self.decoder(self.encode(batch.x)), batch.x)
                terms["squared_error"] = clean["squared_error"]
        if self.penalty is not None:
            penalty, loss = self.penalty(self, x, code), terms["loss"]
            terms |= {"loss": loss + penalty, "reconstruction": loss, "penalty": penalty}
        if self.penalty is not None or self.top_k is not None:
            terms["activation"] = at_least_single(code.detach()).abs().mean(1)
        return terms

    def restoration(self, output: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Return the loss and squared error of the decoder's output for images x (B, C, H, W)."""
        with torch.no_grad():
            error = squared_distance(self.likelihood.mean(output), x)
        return {"loss": -self.likelihood.log_prob(output, x), "squared_error": error}
