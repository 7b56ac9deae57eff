"""Deep autoencoders with layer-wise pretraining."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from inspect import signature
from typing import Any, cast

import torch
from torch import Tensor, nn

from vae_lab.arguments import at_least
from vae_lab.contracts import Batch, Shape
from vae_lab.corruptions import Corruption
from vae_lab.errors import LabError
from vae_lab.models.autoencoder import Autoencoder
from vae_lab.models.base import Schedule
from vae_lab.models.single import SingleObjective
from vae_lab.nets import MLPEncoder
from vae_lab.words import counted

__all__ = ["StackedAutoencoder"]

MakeLayer = Callable[[Shape, int], Autoencoder]

SIGMOID_LAYER: MakeLayer = partial(
    Autoencoder, encoder=partial(MLPEncoder, hidden=()), activation="Sigmoid", tied=True
)


class StackedAutoencoder(SingleObjective):
    r"""Trains autoencoders one after the other, each on the codes of the one before, then all.

    Layer k minimises its own objective for `pretrain_epochs` epochs while the layers before it
    are frozen. In the remaining epochs the unrolled stack is fine-tuned to reconstruct images:

    .. math:: x \to h_1 \to \dots \to h_n \to \dots \to h_1' \to \hat x

    A layer's loss is also logged as `layer_1`, `layer_2`, ..., with the squared error of the whole
    stack. Losses of different stages are not comparable: the best checkpoint is the best of the
    latest stage.

    Args:
        shape: Channels, height and width of an image; the command line takes it from the data.
        widths: Units of each layer, from the image inwards; the last is the size of the code.
        layers: The autoencoder of each layer, or one for all; by default one hidden layer with
            activation Sigmoid and tied weights.
        pretrain_epochs: Epochs of pretraining per layer.
        lr: Learning rate of Adam.
        schedule: Learning-rate schedule of torch.optim.lr_scheduler, stepped once an epoch;
            CosineAnnealingWarmRestarts with T_0 = `pretrain_epochs` restarts with each layer.

    Raises:
        LabError: If a size is not positive, the numbers of layers and widths differ, a layer has
            a learning rate of its own, or a layer below another lacks the activation Sigmoid; in
            training, if it would end before the last layer is pretrained, or if the strategy of
            several processes waits for the gradients of frozen layers.

    References:
        Hinton & Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, 2006.
        https://doi.org/10.1126/science.1127647
        Vincent et al., Stacked Denoising Autoencoders, 2010.
        https://www.jmlr.org/papers/v11/vincent10a.html
    """

    def __init__(
        self,
        shape: Shape,
        widths: Sequence[int] = (1000, 1000, 1000),
        layers: Sequence[MakeLayer] | None = None,
        pretrain_epochs: int = 15,
        lr: float = 1e-3,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(shape, lr, schedule)

        layers = [SIGMOID_LAYER] if layers is None else layers
        if not widths or len(layers) not in (1, len(widths)):
            raise LabError(
                f"{len(widths)} widths and {len(layers)} layers do not match: "
                "give one layer for each width, or one for all."
            )
        at_least(0, pretrain_epochs=pretrain_epochs)
        self.pretrain_epochs = pretrain_epochs
        self._epoch = 0  # that of the loaded checkpoint
        self.latent_dim = widths[-1]
        makers = list(layers) * (len(widths) // len(layers))
        inputs = [shape, *((width, 1, 1) for width in widths[:-1])]
        plan = enumerate(zip(makers, inputs, widths, strict=True))
        self.layers = nn.ModuleList(_made(k, *part) for k, part in plan)
        if not all(isinstance(layer.activation, nn.Sigmoid) for layer in self.layers[:-1]):
            raise LabError(
                "A layer restores the codes of the one below as shares of one, like pixels: "
                "give every layer but the last the activation Sigmoid."
            )

    @property
    def first(self) -> Autoencoder:
        """The layer that sees the images."""
        return cast(Autoencoder, self.layers[0])

    @property
    def activation(self) -> nn.Module:
        """The code's activation."""
        return cast(Autoencoder, self.layers[-1]).activation

    @property
    def corruption(self) -> Corruption | None:
        """The corruption of the first layer's input."""
        return self.first.corruption

    def corrupt(self, x: Tensor) -> Tensor:
        """Corrupt images (B, C, H, W) as in training, from the global random stream."""
        return self.first.corrupt(x)

    @property
    def objective(self) -> int | None:
        """The index of the layer being pretrained in this epoch; None in fine-tuning."""
        # Outside training Lightning counts no epochs; the checkpoint's is used.
        training = self._trainer is None or self._fitting
        epoch = self.current_epoch if training else self._epoch
        if epoch >= self.pretrain_epochs * len(self.layers):
            return None
        return epoch // self.pretrain_epochs

    def setup(self, stage: str) -> None:
        super().setup(stage)
        settings = getattr(self.trainer.strategy, "_ddp_kwargs", {})
        alone = stage != "fit" or self.trainer.world_size == 1
        if not alone and not settings.get("find_unused_parameters"):
            raise LabError(
                "Several processes wait for gradients, which layers that rest do not have: add "
                "--trainer.strategy ddp_find_unused_parameters_true."
            )

    def on_train_start(self) -> None:
        if getattr(self.trainer, "fast_dev_run", False):
            return
        wanted, batches = self.pretrain_epochs * len(self.layers), self.trainer.num_training_batches
        steps = math.ceil(batches / self.trainer.accumulate_grad_batches)
        short = -1 < (self.trainer.max_epochs or -1) < wanted
        if wanted and any(c.monitor == "val/loss" for c in self.trainer.early_stopping_callbacks):
            raise LabError(
                "The losses of a stack's layers and of the whole do not go on from one another: "
                "let EarlyStopping monitor val/squared_error."
            )
        if short or -1 < self.trainer.max_steps < wanted * steps:
            raise LabError(
                f"{counted(len(self.layers), 'layer')}, each trained for "
                f"{counted(self.pretrain_epochs, 'epoch')}, need {counted(wanted, 'epoch')} of "
                f"{counted(steps, 'step')}, more than --trainer.max_epochs or max_steps allow."
            )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._epoch = checkpoint["epoch"]
        if (found := checkpoint["hyper_parameters"]["pretrain_epochs"]) != self.pretrain_epochs:
            raise LabError(
                f"The checkpoint's layers take {counted(found, 'epoch')} each; with "
                f"--model.pretrain_epochs {self.pretrain_epochs} it would go on in another stage."
            )

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the codes of images (B, C, H, W), shape (B, latent_dim)."""
        return self._climb(x, len(self.layers))

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the images of codes (B, latent_dim), shape (B, C, H, W), in [0, 1]."""
        return self.first.decode(self._descend(z))

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstructions of images (B, C, H, W)."""
        return self.decode(self.encode(x))

    def _write(self, stage: str, means: dict[str, float]) -> None:
        # Losses of different objectives make no common curve and no common best: each layer's
        # loss has a name of its own.
        whole = self.objective is None
        super()._write(stage, {k: v for k, v in means.items() if whole or k != "loss"})

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        if (k := self.objective) is None:
            return self._whole(batch.x)
        loss = self._layer(k, batch)
        own = {"loss": loss, f"layer_{k + 1}": loss}
        return own if self.training else self._whole(batch.x) | own

    def _layer(self, k: int, batch: Batch) -> Tensor:
        """Return layer `k`'s loss per image."""
        with torch.no_grad():
            below = self._climb(batch.x, k)
        layer = cast(Autoencoder, self.layers[k])
        return layer.terms(Batch(below.reshape(-1, *layer.shape), batch.y))["loss"]

    def _whole(self, x: Tensor) -> dict[str, Tensor]:
        return self.first.restoration(self.first.decoder(self._descend(self.encode(x))), x)

    def _climb(self, x: Tensor, layers: int) -> Tensor:
        """Encode images by the first so many layers."""
        for layer in cast(Iterable[Autoencoder], self.layers[:layers]):
            x = layer.encode(x.reshape(-1, *layer.shape))
        return x

    def _descend(self, z: Tensor) -> Tensor:
        """Decode the last layer's code down to the first layer's."""
        for layer in cast(Iterable[Autoencoder], self.layers[:0:-1]):
            z = layer.decode(z).flatten(1)
        return z


def _made(k: int, make: MakeLayer, seen: Shape, width: int) -> Autoencoder:
    """Build layer `k`, counted from 0, with input shape `seen` and `width` units."""
    try:
        layer = make(seen, width)
    except LabError as error:
        if k == 0:
            raise
        raise LabError(f"Layer {k + 1} sees the codes of layer {k}, no image: {error}") from error
    default = signature(Autoencoder).parameters["lr"].default
    if layer.lr != default or layer.schedule is not None:
        raise LabError("A layer learns at the stack's lr and schedule: give it none of its own.")
    return layer
