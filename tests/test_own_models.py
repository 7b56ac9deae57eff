"""Models, batches and images of a user's own, and what is said of those that break the contract."""

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from vae_lab.data import Digits
from vae_lab.errors import LabError
from vae_lab.models import VAE
from vae_lab.models.meter import Meter

SHAPE = (1, 8, 8)
QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Odd(VAE):
    """A VAE whose terms a test bends."""

    def __init__(self, shape, bend=None):
        super().__init__(shape)

    def terms(self, batch):
        return self.bend(super().terms(batch))


def fit(model, data=None, **options):
    trainer = L.Trainer(max_epochs=1, **QUIET, **options)
    trainer.fit(model, data or Digits(batch_size=128))
    return model


@pytest.mark.parametrize(
    ("bend", "says"),
    [
        (lambda terms: {k: v.mean() for k, v in terms.items()}, r"'loss' is .* not shape \(\)"),
        (lambda terms: {**terms, "weight": 0.5}, "'weight' is .* not 0.5"),
        (lambda terms: {"elbo": terms["elbo"]}, "terms of a Odd hold no `loss`"),
    ],
)
def test_terms_that_are_no_numbers_of_images_are_refused_at_once(bend, says):
    model = Odd(SHAPE)
    model.bend = bend
    with pytest.raises(LabError, match=says):
        fit(model, limit_train_batches=1)


def test_a_term_that_comes_and_goes_has_no_mean():
    meter = Meter()
    one = torch.ones(4)
    meter.add({"loss": one, "extra": one})
    meter.add({"loss": one})
    with pytest.raises(LabError, match="'extra' was missing"):
        meter.window()
    meter.reset()
    meter.add({"loss": one})
    assert meter.window() == {"loss": 1}
    meter.add({"loss": one, "extra": one})
    with pytest.raises(LabError, match="'extra' was missing"):
        meter.window()


def test_anybodys_loader_will_do():
    pairs = TensorDataset(torch.rand(8, *SHAPE), torch.zeros(8))
    assert fit(VAE(SHAPE), DataLoader(pairs, 4)).images_seen == 8
    with pytest.raises(LabError, match="A batch is images and labels, not a Tensor"):
        fit(VAE(SHAPE), DataLoader(torch.rand(8, *SHAPE), 4))
