"""Classifiers on top of a pretrained or new encoder."""

from collections.abc import Callable
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from vae_lab.arguments import at_least, one_of
from vae_lab.checkpoints import anew
from vae_lab.conditions import check_classes
from vae_lab.contracts import Batch, Encodes, Shape, require
from vae_lab.corruptions import Corruption
from vae_lab.errors import LabError
from vae_lab.models.autoencoder import Autoencoder
from vae_lab.models.base import Model, Schedule
from vae_lab.models.classical import Classical
from vae_lab.models.single import SingleObjective
from vae_lab.models.start import MakeModel, Start, described, started
from vae_lab.precision import at_least_single

__all__ = ["Classifier"]

Weights = Literal["trained", "random"]


class Classifier(SingleObjective):
    r"""Classifies images by a linear layer on an encoder's code.

    .. math:: p(y|x) = \mathrm{softmax}_y(W f(x) + b)

    The encoder f comes from any model that can encode. Its decoder is dropped, and its corruption,
    penalty, likelihood, learning rate and schedule have no effect here; the classifier has a
    `corruption` of its own. The share of wrong labels is logged as `error`, besides the
    cross-entropy.

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        encoder: A checkpoint to start from (on the command line also its run folder, such as
            runs/cae_mnist), or the class of a model to train from scratch. The classifier's
            checkpoint needs neither afterwards.
        weights: `trained` takes a checkpoint's weights; `random` takes only its architecture, for
            comparison.
        frozen: Train the linear layer only, on the codes of a fixed encoder.
        classes: Number of classes.
        corruption: Corruption of the training images, against overfitting.
        lr: Learning rate of Adam.
        schedule: Learning-rate schedule of torch.optim.lr_scheduler, stepped once an epoch.

    Raises:
        LabError: If there is no such checkpoint, its model cannot encode or has another image
            shape, or a number is out of range; in training, if a label is not among the classes,
            or an encoder without gradients, such as PCA, was not fitted before.

    References:
        Hinton & Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, 2006.
        https://doi.org/10.1126/science.1127647
        Vincent et al., Stacked Denoising Autoencoders, 2010.
        https://www.jmlr.org/papers/v11/vincent10a.html
    """

    def __init__(
        self,
        shape: Shape,
        encoder: Start | MakeModel = Autoencoder,
        weights: Weights = "trained",
        frozen: bool = False,
        classes: int = 10,
        corruption: Callable[[], Corruption] | None = None,
        lr: float = 1e-3,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(shape, lr, schedule)

        at_least(2, classes=classes)
        one_of(get_args(Weights), weights=weights)
        if isinstance(encoder, str):
            model = _started(encoder, shape, weights)
            self.hparams["encoder"] = described(model, Classifier, "encoder")
        else:
            model = encoder(shape)
        self.encoder = _only_encoder(model, shape)
        # Some models have weights that never take a gradient; unfreezing must leave them alone.
        self.learnable = [w for w in self.encoder.parameters() if w.requires_grad]
        if frozen:
            self.encoder.requires_grad_(False)
        self.latent_dim = cast(Encodes, self.encoder).latent_dim
        self.frozen = frozen
        self.classes = classes
        self.corruption = corruption and corruption()
        self.head = nn.Linear(self.latent_dim, classes)
        self.train()

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def setup(self, stage: str) -> None:
        super().setup(stage)
        check_classes(self.trainer, self.classes, "--model.classes")

    def on_fit_start(self) -> None:
        # Only here: a checkpoint's weights are loaded after the model is built and set up.
        if isinstance(self.encoder, Classical) and not self.encoder.images_seen:
            raise LabError(
                f"{type(self.encoder).__name__} has to be fitted first: give its run as "
                "--model.encoder, with --model.weights trained."
            )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        # A classifier's checkpoint contains its encoder, fitted already.
        self.encoder.images_seen = max(self.encoder.images_seen, self.images_seen)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the encoder's codes of images (B, C, H, W), shape (B, latent_dim)."""
        return cast(Encodes, self.encoder).encode(x)

    def log_probs(self, x: Tensor) -> Tensor:
        """Return log p(y|x) for images (B, C, H, W) and every class, shape (B, classes)."""
        return at_least_single(self.head(self.encode(x))).log_softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return p(y|x) for images (B, C, H, W) and every class, shape (B, classes)."""
        return self.log_probs(x).exp()

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        if not batch.has_classes:
            raise LabError(
                f"A classifier needs one class index an image; these images have labels of "
                f"shape {tuple(batch.y.shape[1:])}, {batch.y.dtype}."
            )
        x = batch.x
        if self.training and self.corruption is not None:
            x = self.corruption(x)
        log_probs = self.log_probs(x)
        try:
            loss = nn.functional.nll_loss(log_probs, batch.y.long(), reduction="none")
        except IndexError as error:
            known = f"--model.classes {self.classes} are 0 to {self.classes - 1}"
            raise LabError(f"A label is no class: {known}; {error}") from error
        return {"loss": loss, "error": (log_probs.argmax(1) != batch.y).float()}


def _started(path: str, shape: Shape, weights: Weights) -> Model:
    """Load a checkpoint's model, or build the same model with random weights."""
    model = started(path, shape)
    require(model, Encodes, f"A classifier that starts from {path}")
    return cast(Model, anew(model)) if weights == "random" else model


def _only_encoder(model: Model, shape: Shape) -> Model:
    """Remove all that a model's codes do not depend on, such as its decoder.

    Unused weights would enlarge the checkpoint, and DDP refuses weights that get no gradient.
    """
    if isinstance(model, Classifier):
        for weight in model.learnable:
            weight.requires_grad_()
        return model.encoder
    require(model, Encodes, "A classifier")
    model.end_averaging()  # which a classifier would not update
    code = cast(Encodes, model.eval()).encode(torch.zeros(1, *shape))
    if not code.requires_grad:  # it is fitted without gradients, and stays as it is
        return model
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(code.sum(), weights, allow_unused=True)
    unused = {w for w, gradient in zip(weights, gradients, strict=True) if gradient is None}
    for weight in unused:
        weight.requires_grad_(False)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            own = set(child.parameters())
            if own and own <= unused:
                setattr(module, name, None)
    return model
