"""Models, batches and images of a user's own, and what is said of those that break the contract."""

import csv
from functools import partial
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from conftest import QUIET
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from vae_lab.callbacks import AtomicCheckpointIO
from vae_lab.contracts import Batch, group_size
from vae_lab.data import Digits
from vae_lab.drawings import DRAWINGS
from vae_lab.drawings.reach import is_normal
from vae_lab.errors import LabError
from vae_lab.models import (
    CVAE,
    GAN,
    VAE,
    VAEGAN,
    Autoencoder,
    FeedForward,
    InfoGAN,
    KMeans,
    VAEDis,
)
from vae_lab.models.meter import Meter
from vae_lab.nets import MLPEncoder, MLPGenerator
from vae_lab.posteriors import GumbelSoftmax
from vae_lab.priors import MixtureOfGaussians, Uniform
from vae_lab.verbs.exploring.view import view

SHAPE = (1, 8, 8)


class Odd(VAE):
    """A VAE whose terms a test bends."""

    def __init__(self, shape, bend=None):
        super().__init__(shape)

    def terms(self, batch):
        return self.bend(super().terms(batch))


def fit(model, data=None, **options):
    trainer = L.Trainer(max_epochs=1, **QUIET, **options)
    trainer.fit(model, Digits(batch_size=128) if data is None else data)
    return model


@pytest.mark.parametrize(
    ("bend", "says"),
    [
        (lambda terms: {k: v.mean() for k, v in terms.items()}, r"'loss' is .* not shape \(\)"),
        (lambda terms: {**terms, "weight": 0.5}, "'weight' is .* not 0.5"),
        (lambda terms: {"elbo": terms["elbo"]}, "terms of an Odd hold no `loss`"),
    ],
)
def test_terms_that_are_no_numbers_of_images_are_refused_at_once(bend, says):
    model = Odd(SHAPE)
    model.bend = bend
    with pytest.raises(LabError, match=says):
        fit(model, limit_train_batches=1)


class Halved(MLPEncoder):
    """An encoder of half as many features as it is asked for."""

    def __init__(self, shape, features):
        super().__init__(shape, features // 2)


class Paired(MLPEncoder):
    """An encoder that splits its features by itself."""

    def forward(self, x):
        return super().forward(x).chunk(2, 1)


class Moody(MLPEncoder):
    """An encoder that splits its features in training alone."""

    def forward(self, x):
        return super().forward(x).chunk(2, 1) if self.training else super().forward(x)


@pytest.mark.parametrize(("model", "features"), [(VAE, 8), (Autoencoder, 4), (CVAE, 8)])
def test_what_an_encoder_returns_later_has_the_size_it_was_asked_for_too(model, features):
    made = model(SHAPE, latent_dim=4, encoder=Moody)
    wrong = r"The Moody returned a tuple for inputs of \(5, "
    with pytest.raises(LabError, match=rf"{wrong}.* one tensor of \(5, {features}\)"):
        made.encode(torch.zeros(5, *SHAPE), torch.zeros(5, dtype=torch.long))


class Wide(MLPEncoder):
    """A critic, or other encoder, of five features whatever it is asked for."""

    def __init__(self, shape, features):
        super().__init__(shape, 5)


class Small(MLPEncoder):
    """One for images of another size."""

    def __init__(self, shape, features):
        super().__init__((1, 7, 7), features)


class Twice(MLPGenerator):
    """A generator that hands out more than images."""

    def forward(self, z):
        return super().forward(z), z


class Bare(MLPGenerator):
    """One whose images have no channels: (B, 8, 8) would be spread over (B, 1, 8, 8)."""

    def forward(self, z):
        return super().forward(z)[:, 0]


class Deaf(MLPGenerator):
    """One for codes of another size."""

    def __init__(self, features, shape):
        super().__init__(features + 1, shape)


@pytest.mark.parametrize(
    ("net", "says"),
    [
        ({"critic": Wide}, r"Wide returned \(1, 5\) for inputs of \(1, 1, 8, 8\)"),
        ({"critic": Small}, r"Small takes no inputs of \(1, 1, 8, 8\): mat1 and mat2"),
        ({"generator": Twice}, r"Twice returned a tuple .* one tensor of \(1, 1, 8, 8\)"),
        ({"generator": Bare}, r"Bare returned \(1, 8, 8\)"),
        ({"generator": Deaf}, r"Deaf takes no inputs of \(1, \d+\): mat1 and mat2"),
    ],
)
@pytest.mark.parametrize("model", [GAN, InfoGAN, VAEGAN, VAEDis])
def test_networks_of_a_game_that_do_not_fit_are_refused_at_once(model, net, says):
    """A critic of five scores was trained by the first of them."""
    if model is VAEDis:  # which has a GAN's critic
        net = {{"critic": "gan", "generator": "decoder"}[k]: v for k, v in net.items()}
        net = {"gan": partial(GAN, critic=net["gan"])} if "gan" in net else net
    with pytest.raises(LabError, match=says):
        model(SHAPE, **net)


@pytest.mark.parametrize(
    ("encoder", "says"),
    [
        (Halved, r"Halved returned \(1, {0}\) .* one tensor of \(1, {1}\)"),
        (Paired, "Paired returned a tuple"),
        (Small, r"Small takes no inputs of \(1, {2}, 8, 8\): mat1 and mat2"),
    ],
)
@pytest.mark.parametrize("model", [VAEGAN, VAEDis, VAE, Autoencoder, CVAE])
def test_an_encoder_is_tried_as_well_as_soon_as_it_is_made(model, encoder, says):
    features, channels = 4 if model is Autoencoder else 8, 2 if model is CVAE else 1
    with pytest.raises(LabError, match=says.format(features // 2, features, channels)):
        model(SHAPE, latent_dim=4, encoder=encoder)


@pytest.mark.parametrize(
    ("decoder", "says"),
    [
        (Twice, r"Twice returned a tuple .* one tensor of \(1, 1, 8, 8\)"),
        (Bare, r"Bare returned \(1, 8, 8\)"),
        (Deaf, r"Deaf takes no inputs of \(1, \d+\): mat1 and mat2"),
    ],
)
@pytest.mark.parametrize("model", [VAE, Autoencoder, CVAE, FeedForward])
def test_a_decoder_is_tried_as_soon_as_it_is_made(model, decoder, says):
    with pytest.raises(LabError, match=says):
        model(SHAPE, decoder=decoder)


def test_a_part_that_rests_still_rests_after_the_trial():
    class Resting(MLPEncoder):
        def __init__(self, shape, features):
            super().__init__(shape, features)
            self[1].eval()

    critic = GAN(SHAPE, critic=Resting).critic
    assert critic.training
    assert not critic[1].training


def test_a_term_that_comes_and_goes_has_no_mean():
    meter = Meter()
    one = torch.ones(4)
    meter.add({"loss": one, "extra": one})
    meter.add({"loss": one})
    with pytest.raises(LabError, match="'extra' was missing"):
        meter.window()
    meter.reset()
    meter.add({"loss": one})
    assert meter.window() == ({"loss": 4}, 4)
    meter.add({"loss": one, "extra": one})
    with pytest.raises(LabError, match="'extra' was missing"):
        meter.window()


def test_anybodys_loader_will_do():
    pairs = TensorDataset(torch.rand(8, *SHAPE), torch.zeros(8))
    assert fit(VAE(SHAPE), DataLoader(pairs, 4)).images_seen == 8
    with pytest.raises(LabError, match="A batch is images and labels, not a Tensor"):
        fit(VAE(SHAPE), DataLoader(torch.rand(8, *SHAPE), 4))


class Endless(IterableDataset):
    """Images whose number nobody knows beforehand."""

    def __iter__(self):
        return iter([(torch.rand(SHAPE), 0.0)] * 8)


def test_a_loader_without_a_length_trains_a_gan_too():
    assert fit(GAN(SHAPE), DataLoader(Endless(), 4)).images_seen == 8


BYTES, LABELS = torch.zeros(50, 1, 8, 8, dtype=torch.uint8), torch.zeros(50, dtype=torch.long)


class Own(Digits):
    """Digits as a user might return them."""

    def read(self, split):
        return self.found


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (torch.rand(50, 1, 8, 8), LABELS, r"8-bit images .* not torch.float32 of \(50, 1, 8, 8\)"),
        (torch.zeros(50, 8, 8, dtype=torch.uint8), LABELS, r"not torch.uint8 of \(50, 8, 8\)"),
        (np.zeros((50, 1, 8, 8), np.uint8), LABELS, "not ndarray"),
        (BYTES, torch.zeros(40), "as many labels as images, 50"),
        (BYTES, [0] * 50, "a tensor of as many labels"),
        (BYTES, torch.full((50,), 10), "Own has 10 classes, and labels up to 10"),
        (torch.zeros(50, 1, 9, 9, dtype=torch.uint8), LABELS, r"`native` says \(8, 8\)"),
        (torch.zeros(50, 2, 8, 8, dtype=torch.uint8), LABELS, "1 or 3 channels"),
    ],
)
def test_images_that_are_not_what_a_source_returns_are_refused(images, labels, says):
    data = Own()
    data.found = images, labels
    with pytest.raises(LabError, match=says):
        data.split("train")


class Norms(L.Callback):
    """Keeps what no checkpoint is read with, but not at once."""

    last = None

    def state_dict(self):
        return {"last": self.last}


def test_a_state_that_could_not_be_loaded_is_refused_before_it_is_saved(tmp_path):
    norms = Norms()
    trainer = L.Trainer(max_steps=1, callbacks=[norms], plugins=[AtomicCheckpointIO()], **QUIET)
    trainer.fit(VAE(SHAPE), Digits(batch_size=128))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    before, norms.last = (tmp_path / "a.ckpt").read_bytes(), np.float64(3)
    with pytest.raises(LabError, match="The state of Norms holds objects"):
        trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert (tmp_path / "a.ckpt").read_bytes() == before


class Clustered(VAE):
    """Tells by its prior which part of the mixture an image is of (Jiang et al., 2017)."""

    def cluster(self, x, y=None):
        return self.prior_given(y).log_prob(self.encode(x)).long()


def test_clusters_of_real_codes_do_not_make_them_one_hot():
    assert group_size(Clustered(SHAPE, 3, prior=MixtureOfGaussians)) is None
    assert group_size(Clustered(SHAPE, 20, posterior=GumbelSoftmax, prior=Uniform)) == 10
    assert group_size(KMeans(SHAPE, 4)) == 4


def test_labels_that_are_amounts_give_codes_no_colour():
    batch = Batch(torch.rand(20, *SHAPE), torch.rand(20))
    assert DRAWINGS["scatter"](VAE(SHAPE, 2).eval(), batch).shape[0] == 3


def test_what_is_measured_outside_of_training_is_returned_and_logged_as_lightning_does(tmp_path):
    data, logger = Digits(batch_size=128), CSVLogger(tmp_path)
    trainer = L.Trainer(**{**QUIET, "logger": logger})
    for count, (stage, measure) in enumerate((("test", trainer.test), ("val", trainer.validate))):
        (found,) = measure(VAE(data.shape, 2), data, verbose=False)
        assert set(found) == {
            f"{stage}/{name}" for name in ("loss", "elbo", "kl", "reconstruction")
        }
        with (Path(logger.log_dir) / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == count + 1
        assert float(rows[-1][f"{stage}/loss"]) == pytest.approx(found[f"{stage}/loss"])
    assert L.Trainer(**QUIET).test(VAE(data.shape, 2), data, verbose=False)[0].keys() >= {
        "test/elbo"
    }


def test_names_that_own_models_give_their_parts_mean_nothing_to_a_page_of_codes():
    plain, own = VAE(SHAPE, 3).eval(), VAE(SHAPE, 3).eval()
    own.noise, own.place = torch.nn.Dropout(), torch.nn.Linear(2, 2)
    for model in (plain, own):
        torch.manual_seed(0)
        page = view(model, Digits(), None)
        assert page["drawn"] == 3
        assert [control["name"] for control in page["controls"]] == ["z1", "z2", "z3"]
        assert is_normal(model)
