"""pythae's own VAE and trainer on the same MLP; runs in the environment that `peers` makes."""

from typing import Any

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor
from torchvision.datasets import MNIST

from tests.bench import nets
from tests.bench.work import BATCH, EVAL_BATCH, Work, mark_end, mark_epoch


class Encoder(BaseEncoder):
    """Our encoder, with pythae's names."""

    def __init__(self, net: str) -> None:
        super().__init__()
        self.layers = nets.encoder(net)

    def forward(self, x: Tensor) -> ModelOutput:
        mean, log_variance = self.layers(x).chunk(2, -1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    """Our decoder, with pythae's names; its loss wants probabilities."""

    def __init__(self, net: str) -> None:
        super().__init__()
        self.layers = nets.decoder(net)

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.layers(z).sigmoid())


class Marks(TrainingCallback):
    """Marks the start of every epoch, and keeps the last validation loss."""

    def on_epoch_begin(self, training_config: Any, **kwargs: Any) -> None:
        mark_epoch()

    def on_log(self, training_config: Any, logs: dict[str, float], **kwargs: Any) -> None:
        self.loss = logs["eval_epoch_loss"]


def main(work: Work) -> None:
    """Train, with one validation an epoch, and leave marks."""
    torch.manual_seed(0)
    images = MNIST(work.root).data.unsqueeze(1) / 255
    train, val = images[: work.train], images[50_000 : 50_000 + work.val]
    model = VAE(
        VAEConfig(input_dim=(1, 28, 28), latent_dim=nets.LATENT, reconstruction_loss="bce"),
        Encoder(work.net),
        Decoder(work.net),
    )
    marks = Marks()
    BaseTrainer(
        model,
        train_dataset=BaseDataset(train, torch.ones(len(train))),
        eval_dataset=BaseDataset(val, torch.ones(len(val))),
        training_config=BaseTrainerConfig(
            output_dir="pythae",
            num_epochs=work.epochs,
            learning_rate=1e-3,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=EVAL_BATCH,
            no_cuda=True,
        ),
        callbacks=[marks],
    ).train()
    mark_end(nets.count(model), marks.loss)


if __name__ == "__main__":
    main(Work.from_argument())
