"""Classifiers: what they take from an encoder, what they train, what they keep."""

from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import QUIET
from lightning.pytorch import Trainer
from torch import nn

from vae_lab import runs
from vae_lab.contracts import Batch, Classifies, Encodes
from vae_lab.data import Digits
from vae_lab.errors import LabError
from vae_lab.models import (
    PCA,
    VAE,
    VAEGAN,
    Autoencoder,
    Classifier,
    GaussianMixture,
    KMeans,
    StackedAutoencoder,
)
from vae_lab.nets import MLPDecoder, MLPEncoder

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore:.*treespec"
)
SHAPE = (1, 8, 8)
SMALL = {"encoder": partial(MLPEncoder, hidden=(8,)), "decoder": partial(MLPDecoder, hidden=(8,))}
ENCODERS = {
    "autoencoder": partial(Autoencoder, latent_dim=6, tied=True, **SMALL),
    "vae": partial(VAE, latent_dim=6, **SMALL),
    "vaegan": partial(VAEGAN, latent_dim=6, encoder=SMALL["encoder"]),
    "stack": partial(StackedAutoencoder, widths=(8, 6)),
    "classifier": partial(Classifier, encoder=partial(Autoencoder, latent_dim=6, **SMALL)),
}
TRAINER = QUIET | {"max_epochs": 1}
every_encoder = pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)


def examples(n=40):
    x, y = Digits().images("train", n)
    return Batch(x, y)


def saved(model, path):
    """Write a model to a checkpoint."""
    trainer = Trainer(**TRAINER)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path, weights_only=True)
    return str(path)


def learn(model, steps=5):
    """Train on a few digits as the trainer would."""
    model.train()
    adam = model.configure_optimizers()
    for _ in range(steps):
        adam.zero_grad()
        model.terms(examples())["loss"].mean().backward()
        adam.step()
    return model


def weights(model):
    return {name: weight.clone() for name, weight in model.state_dict().items()}


@every_encoder
def test_it_starts_from_the_codes_of_any_encoder(encoder, tmp_path):
    torch.manual_seed(0)
    source = encoder(SHAPE).eval()
    model = Classifier(SHAPE, saved(source, tmp_path / "source.ckpt")).eval()
    x = examples().x
    assert isinstance(model, Encodes)
    assert isinstance(model, Classifies)
    torch.testing.assert_close(model.encode(x), source.encode(x), rtol=0, atol=0)
    assert model.latent_dim == 6
    assert model.log_probs(x).shape == (40, 10)
    torch.testing.assert_close(model(x).sum(1), torch.ones(40))


@every_encoder
def test_what_codes_do_not_depend_on_is_dropped(encoder, tmp_path):
    torch.manual_seed(0)
    model = Classifier(SHAPE, encoder)
    model.terms(examples())["loss"].mean().backward()
    assert all(weight.grad is not None for weight in model.parameters())
    assert not [name for name in model.state_dict() if "decoder" in name]
    assert len([name for name in model.state_dict() if "head" in name]) == 2


def test_a_frozen_encoder_stays_to_the_bit_and_in_evaluation_mode():
    torch.manual_seed(0)
    dropping = partial(Dropping, latent_dim=6, **SMALL)
    model = Classifier(SHAPE, dropping, frozen=True)
    before = weights(model)
    codes = model.train().encode(examples().x)
    torch.testing.assert_close(codes, model.eval().encode(examples().x), rtol=0, atol=0)
    learn(model)
    after = weights(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"head.weight", "head.bias"}
    assert all(w.grad is None for w in model.encoder.parameters())


class Dropping(Autoencoder):
    """Drops and normalises units, which tells training from evaluation."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.noise = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(self.latent_dim))

    def encode(self, x, y=None):
        return self.noise(super().encode(x))


@every_encoder
def test_what_is_fine_tuned_is_what_is_evaluated(encoder):
    torch.manual_seed(0)
    model = learn(Classifier(SHAPE, encoder))
    x = examples().x
    torch.testing.assert_close(model.train().encode(x), model.eval().encode(x), rtol=0, atol=0)


def test_fine_tuning_changes_every_weight():
    torch.manual_seed(0)
    model = Classifier(SHAPE, ENCODERS["autoencoder"])
    before = weights(model)
    after = weights(learn(model))
    assert not [name for name in before if torch.equal(before[name], after[name])]


def test_a_frozen_encoder_that_is_started_from_may_be_fine_tuned(tmp_path):
    torch.manual_seed(0)
    frozen = Classifier(SHAPE, ENCODERS["autoencoder"], frozen=True)
    model = Classifier(SHAPE, saved(frozen, tmp_path / "frozen.ckpt"))
    assert all(weight.requires_grad for weight in model.parameters())


def fitted(path, model):
    """Fit a model that learns without gradients, and write it to a checkpoint."""
    Trainer(**TRAINER).fit(model, Digits(val_size=0))
    return saved(model, path)


@pytest.mark.parametrize("frozen", [True, False])
def test_what_learns_without_gradients_stays_as_it_is(frozen, tmp_path):
    source = PCA(SHAPE, 6)
    model = Classifier(SHAPE, fitted(tmp_path / "pca.ckpt", source), frozen=frozen)
    Trainer(**TRAINER).fit(model, Digits())
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert trained == ["head.weight", "head.bias"]
    x = examples().x
    torch.testing.assert_close(model.encode(x), source.encode(x), rtol=0, atol=0)


UNFITTED = {
    "PCA": partial(PCA, latent_dim=6),
    "KMeans": partial(KMeans, clusters=4, restarts=1),
    "GaussianMixture": partial(GaussianMixture, components=4, pca_dim=4),
}


@pytest.mark.parametrize("name", UNFITTED)
def test_what_learns_without_gradients_has_to_be_fitted_first(name, tmp_path):
    def train(encoder, **settings):
        model = Classifier(SHAPE, encoder, **settings)
        Trainer(**TRAINER).fit(model, Digits())
        return saved(model, tmp_path / "classifier.ckpt")

    sentence = f"{name} has to be fitted first: give its run as --model.encoder"
    source = fitted(tmp_path / "source.ckpt", UNFITTED[name](SHAPE))
    with pytest.raises(LabError, match=sentence):
        train(UNFITTED[name])
    with pytest.raises(LabError, match=sentence):
        train(source, weights="random")
    kept = train(source)
    train(kept)  # a classifier brings along what it was trained on
    with pytest.raises(LabError, match=sentence):
        train(kept, weights="random")


def test_random_weights_have_the_architecture_alone(tmp_path):
    path = saved(ENCODERS["stack"](SHAPE), tmp_path / "source.ckpt")
    torch.manual_seed(0)
    trained, first = Classifier(SHAPE, path), Classifier(SHAPE, path, weights="random")
    second = Classifier(SHAPE, path, weights="random")
    assert str(trained) == str(first)
    assert trained.hparams["encoder"] == first.hparams["encoder"]
    for name in (n for n, w in trained.encoder.named_parameters() if w.ndim > 1):
        found = [m.encoder.get_parameter(name) for m in (trained, first, second)]
        assert not torch.equal(found[0], found[1]), name
        assert not torch.equal(found[1], found[2]), name


@every_encoder
@pytest.mark.parametrize("which", ["trained", "random"])
def test_its_checkpoint_is_enough(encoder, which, tmp_path):
    path = saved(encoder(SHAPE), tmp_path / "source.ckpt")
    model = learn(Classifier(SHAPE, path, weights=which))
    kept = saved(model, tmp_path / "kept.ckpt")
    Path(path).unlink()
    loaded = runs.load_model(kept)
    assert loaded.hparams == model.hparams
    assert set(loaded.hparams["encoder"]) == {"class_path", "init_args"}
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), rtol=0, atol=0)
    again = runs.load_model(saved(loaded, tmp_path / "again.ckpt"))
    torch.testing.assert_close(again(examples().x), model.eval()(examples().x), rtol=0, atol=0)


def test_terms_are_cross_entropy_and_error():
    torch.manual_seed(0)
    model, images = Classifier(SHAPE, ENCODERS["autoencoder"]), examples()
    with torch.no_grad():
        terms, p = model.terms(images), model(images.x)
    expected = [-p[i, y].log() for i, y in enumerate(images.y)]
    torch.testing.assert_close(terms["loss"], torch.stack(expected))
    torch.testing.assert_close(terms["error"], (p.argmax(1) != images.y).float())
    assert 0 < terms["error"].mean() <= 1


@pytest.mark.parametrize(
    ("y", "sentence"),
    [
        (torch.zeros(2, 3), r"one class index an image.*shape \(3,\)"),
        (torch.zeros(2), "one class index an image.*float32"),
        (torch.tensor([0, 10]), "no class: --model.classes 10 are 0 to 9.*10"),
        (torch.tensor([0, -1]), "no class: .*-1"),
    ],
    ids=["attributes", "numbers", "too large", "negative"],
)
def test_labels_that_are_no_classes_are_refused(y, sentence):
    with pytest.raises(LabError, match=sentence):
        Classifier(SHAPE, ENCODERS["autoencoder"]).terms(Batch(torch.rand(2, *SHAPE), y))


@pytest.mark.parametrize("classes", [9, 11])
def test_other_classes_than_the_datas_are_refused_before_training(classes):
    model = Classifier(SHAPE, ENCODERS["autoencoder"], classes=classes)
    sentence = f"Digits has 10 classes, but --model.classes are {classes}: make them the same"
    with pytest.raises(LabError, match=sentence):
        Trainer(**TRAINER).fit(model, Digits())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"classes": 1}, "classes is at least 2"),
        ({"weights": "best"}, "weights is one of trained, random, not 'best'"),
        ({"encoder": "nowhere.ckpt"}, "Cannot read nowhere.ckpt: No such file"),
    ],
    ids=str,
)
def test_settings_that_make_no_classifier_are_refused(settings, sentence):
    with pytest.raises(LabError, match=sentence):
        Classifier(SHAPE, **settings)


def test_images_of_another_shape_are_refused(tmp_path):
    path = saved(Autoencoder((3, 8, 8), **SMALL), tmp_path / "colour.ckpt")
    with pytest.raises(LabError, match=r"colour.ckpt takes images of 3 x 8 x 8; these are 1 x 8 x"):
        Classifier(SHAPE, path)


class Blind(Autoencoder):
    """Has no encoder to lend."""

    encode = None


def test_a_checkpoint_without_an_encoder_is_refused(tmp_path):
    path = saved(Blind(SHAPE, **SMALL), tmp_path / "blind.ckpt")
    with pytest.raises(LabError, match=r"starts from .*blind.ckpt needs a model that can encode"):
        Classifier(SHAPE, path)
    with pytest.raises(LabError, match="A classifier needs a model that can encode; Blind cannot"):
        Classifier(SHAPE, partial(Blind, **SMALL))
