"""Filters, restorations, codes beside PCA, and what is measured of sparse and denoising models."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FIT
from PIL import Image
from torch import nn

from vae_lab import pictures
from vae_lab.contracts import Batch
from vae_lab.corruptions import GaussianNoise, Masking, SaltAndPepper
from vae_lab.drawings import DRAWINGS
from vae_lab.errors import LabError
from vae_lab.metrics.autoencoders import activations, restorations
from vae_lab.metrics.suite import measure
from vae_lab.models import VAE, Autoencoder
from vae_lab.models.stacked import StackedAutoencoder
from vae_lab.nets import ConvEncoder, MLPEncoder
from vae_lab.penalties import Contraction, KLSparsity, L1Sparsity

SHAPE = (1, 4, 5)
LINEAR = partial(MLPEncoder, hidden=[])
DAMAGED = partial(Autoencoder, activation="Sigmoid", corruption=SaltAndPepper)


@pytest.fixture(autouse=True)
def _fixed():
    torch.manual_seed(0)


@pytest.fixture
def drawn(monkeypatch):
    """Catch what is tiled, with its columns, and what is written beside it."""
    seen = {}

    def tile(images, columns, gap=3):
        seen.update(images=images, columns=columns)
        return torch.zeros(3, 4, 4)

    def write(image, title="", rows=(), columns=()):
        seen.update(title=title, rows=list(rows))
        return image

    for module in (sys.modules["vae_lab.pictures.filters"], pictures.sheets):
        monkeypatch.setattr(module, "grid", tile)
        monkeypatch.setattr(module, "captioned", write)
    return seen


def images(n=9, shape=SHAPE):
    return Batch(torch.rand(n, *shape), torch.arange(n) % 2)


def test_each_filter_has_its_own_scale_around_grey(drawn):
    weights = torch.tensor([[1.0, -2.0], [0.1, 0.05], [-30.0, 0.0], [0.0, 0.0]]).view(4, 1, 1, 2)
    pictures.filters(weights)
    expected = torch.tensor([[0.0, 0.5], [0.75, 0.0], [1.0, 0.75], [0.5, 0.5]])
    torch.testing.assert_close(drawn["images"].view(4, 2), expected)
    assert drawn["title"].startswith("filters: 4 of 4, from the strongest")


def test_colours_of_a_filter_share_its_scale(drawn):
    weights = torch.randn(7, 3, 4, 4)
    pictures.filters(weights)
    spread = (drawn["images"] - 0.5).abs().amax((1, 2, 3))
    torch.testing.assert_close(spread, torch.full((7,), 0.5))
    order = weights.flatten(1).norm(dim=1).argsort(descending=True)
    ratio = (drawn["images"] - 0.5) / weights[order]
    torch.testing.assert_close(ratio.amax((1, 2, 3)), ratio.amin((1, 2, 3)), rtol=1e-3, atol=0)


def test_of_many_filters_those_drawn_stand_for_all(drawn):
    weights = torch.arange(1.0, 302).view(-1, 1, 1, 1) * torch.tensor([1.0, 0.0])
    weights[:, 0, 0, 1] = torch.linspace(0, 1, 301)  # tells filters apart once they are scaled
    pictures.filters(weights, at_most=4)
    scaled = weights[[300, 200, 100, 0]].flatten(1)
    expected = 0.5 + scaled / (2 * scaled.amax(1, keepdim=True))
    torch.testing.assert_close(drawn["images"].flatten(1), expected)
    assert "4 of 301" in drawn["title"]


@pytest.mark.parametrize("shape", [(300, 1, 28, 28), (32, 3, 4, 4), (1, 2, 5, 7)])
def test_filters_of_any_shape_are_a_picture(shape):
    image = pictures.filters(torch.randn(shape))
    assert image.shape[0] == 3
    assert 0 <= image.min() <= image.max() <= 1
    assert 600 <= image.shape[2] <= 1400


@pytest.mark.parametrize("weights", [torch.rand(3, 4), torch.rand(0, 1, 2, 2)])
def test_what_are_no_filters_is_refused(weights):
    with pytest.raises(LabError, match="Filters are images"):
        pictures.filters(weights)
    with pytest.raises(LabError, match="at least one"):
        pictures.filters(torch.rand(3, 1, 2, 2), at_most=0)


def test_the_first_layer_is_found_and_shaped_like_the_images():
    shape = (3, 8, 6)
    dense, conv = MLPEncoder(shape, 5, [7]), ConvEncoder(shape, 5, [9])
    weights = pictures.first_layer(dense, shape)
    assert weights.shape == (7, *shape)
    x = torch.rand(2, *shape)
    by_hand = torch.einsum("nchw,bchw->bn", weights, x) + dense[1].bias
    torch.testing.assert_close(by_hand, dense[1](x.flatten(1)))
    assert pictures.first_layer(conv, shape).shape == (9, 3, 4, 4)


@pytest.mark.parametrize(
    "encoder",
    [
        ConvEncoder((1, 8, 8), 5, pooling="max"),
        nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 5)),
        nn.Flatten(),
    ],
    ids=["kernels of 3", "pooled", "no layer"],
)
def test_a_first_layer_that_shows_nothing_is_refused(encoder):
    with pytest.raises(LabError, match="has no filters to draw"):
        pictures.first_layer(encoder, (1, 8, 8))


def test_a_model_without_an_encoder_has_no_filters():
    with pytest.raises(LabError, match="Identity has no encoder network"):
        DRAWINGS["filters"].check(nn.Identity(), "The picture 'filters'")


@pytest.mark.parametrize(
    ("model", "title"),
    [
        (Autoencoder(SHAPE, 3), "filters: "),
        (VAE(SHAPE, 3), "filters: "),
        (Autoencoder(SHAPE, 3, corruption=partial(Masking, 0.5)), "filters, Masking 0.5: "),
        (
            StackedAutoencoder(SHAPE, [6, 3], [DAMAGED]),
            "filters, SaltAndPepper 0.3: ",
        ),
    ],
    ids=["plain", "vae", "denoising", "stacked"],
)
def test_filters_are_titled_by_the_corruption_that_shaped_them(drawn, model, title):
    DRAWINGS["filters"].check(model, "The picture 'filters'")
    DRAWINGS["filters"].draw(model, images())
    assert drawn["title"].startswith(title)
    assert drawn["images"].shape[1:] == SHAPE


def test_panels_stand_below_one_another():
    wide, narrow = torch.rand(3, 4, 9), torch.rand(3, 2, 5)
    image = pictures.stacked([wide, narrow])
    assert torch.equal(image[:, :4], wide)
    assert torch.equal(image[:, 4:, :5], narrow)
    assert (image[:, 4:, 5:] == 1).all()


def test_restorations_are_three_rows_until_all_are_drawn(drawn):
    clean = torch.full((12, 1, 4, 4), 0.25)
    pictures.restorations(clean, clean + 0.25, clean + 0.5, "Masking 0.3")
    assert drawn["rows"] == ["clean", "corrupted", "restored"] * 2
    assert drawn["title"] == "Masking 0.3"
    rows = drawn["images"].view(6, 10, -1)
    torch.testing.assert_close(rows[:, 0, 0], torch.tensor([0.25, 0.5, 0.75] * 2))
    assert (rows[3:, 2:] == 1).all()
    with pytest.raises(LabError, match="do not match"):
        pictures.restorations(clean, clean[:3], clean)


@pytest.mark.parametrize("corruption", [Masking, GaussianNoise, SaltAndPepper])
def test_a_restoration_begins_with_the_same_damage_every_time(drawn, corruption):
    model = Autoencoder(SHAPE, 3, corruption=corruption).eval()
    batch = images(5)
    with torch.inference_mode():
        first, again, other = (
            (DRAWINGS["restorations"].draw(model, batch, seed=s), drawn["images"].clone())[1]
            for s in (0, 0, 1)
        )
        clean, corrupted, restored = first.split(5)
        torch.testing.assert_close(restored, model(corrupted))
    assert drawn["title"] == f"images, damaged by {model.corruption}, and restored"
    assert torch.equal(first, again)
    assert torch.equal(clean, batch.x)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Autoencoder(SHAPE, 3), "learned from whole images and has nothing to restore"),
        (VAE(SHAPE, 3), "VAE cannot"),
        (StackedAutoencoder(SHAPE, [3]), "learned from whole images and has nothing to restore"),
    ],
)
def test_a_model_that_undoes_no_damage_is_refused(model, message):
    with pytest.raises(LabError, match=message):
        DRAWINGS["restorations"].check(model, "The picture 'restorations'")


def test_pictures_leave_training_as_it_was_and_verbs_draw_them_again(lab):
    words = [*FIT, "--model=Autoencoder", "--model.latent_dim=2", "--model.corruption=Masking"]
    lab(*words, "--name=drawn", "--pictures.every=1")
    lab(*words, "--name=quiet", "--pictures.kinds=[]")
    drawn, quiet = Path("runs/drawn/version_0"), Path("runs/quiet/version_0")
    assert (drawn / "metrics.csv").read_text() == (quiet / "metrics.csv").read_text()
    kinds = {path.name for path in (drawn / "pictures").iterdir()}
    assert {f"{kind}_0002.png" for kind in ("restorations", "filters", "beside_pca")} <= kinds

    assert lab("denoise", drawn, "--n=15") == "denoise.png\n"
    first = np.asarray(Image.open("denoise.png"))
    lab("denoise", quiet, "--n=15")
    again = np.asarray(Image.open("denoise.png"))
    assert np.array_equal(first[:-40], again[:-40])  # below is the run's name
    assert not np.array_equal(first, again)

    lab("filters", drawn, "--output=one.png")
    assert lab("filters", "runs/*", quiet / "checkpoints/last.ckpt") == "filters.png\n"
    one, three = (np.asarray(Image.open(p)) for p in ("one.png", "filters.png"))
    assert len(three) == 3 * len(one)
    panel = three[: len(one), : one.shape[1]]
    assert np.array_equal(panel, one)


def test_verbs_refuse_in_one_sentence(lab, run, capfd):
    for words, message in (
        (["denoise", "runs/VAE"], "needs a model that can corrupt images; VAE cannot"),
        (["denoise", "runs/Autoencoder"], "nothing to restore"),
        (["denoise", "runs/VAE", "--n=0"], "--n is at least 1"),
        (["filters", "runs/VEA"], "did you mean runs/VAE"),
    ):
        capfd.readouterr()
        with pytest.raises(SystemExit):
            lab(*words)
        assert message in capfd.readouterr().err


def test_codes_stand_beside_the_components_of_the_same_images(monkeypatch):
    panels = []
    draw = pictures.plane.draw_points

    def catch(axes, points, labels, names):
        draw(axes, points, labels, names)
        panels.append((axes, points))

    monkeypatch.setattr(pictures.plane, "draw_points", catch)
    x, y = torch.rand(60, 1, 4, 4), torch.arange(60) % 3
    codes = torch.stack([y * 10.0, torch.rand(60)], 1)
    image = pictures.beside_pca(codes, x, y)
    assert image.shape[2] == 2 * image.shape[1]
    (left, drawn), (right, pixels) = panels
    assert torch.equal(drawn, codes)
    torch.testing.assert_close(pixels, pictures.project(x.flatten(1)))
    assert left.get_title().startswith("codes\n5-NN accuracy 1.000, each of 60 points")
    assert right.get_title().startswith("principal components of the pixels\n5-NN accuracy 0.")
    assert left.get_xlabel() == "z1"  # an axis of the codes themselves
    share = pixels[:, 1].var() / x.flatten(1).var(0).sum()
    assert right.get_ylabel() == f"component 2, {share:.0%} of the variance"
    assert left.get_legend() is None
    assert [t.get_text() for t in right.get_legend().get_texts()] == [" 0", " 1", " 2"]


def test_a_point_is_not_its_own_neighbour():
    # Of every pair of equal points the classes differ, so that nearest neighbours mislead.
    points = torch.arange(40.0).div(2, rounding_mode="floor").repeat(2, 1).T.contiguous()
    assert "accuracy 0.000" in pictures.plane._neighbours(points, torch.arange(40) % 2, k=1)


def test_images_without_classes_are_drawn_without_an_accuracy():
    for labels in (None, torch.zeros(20, dtype=torch.long)):
        assert pictures.plane._neighbours(torch.rand(20, 2), labels) == ""
        assert pictures.beside_pca(torch.rand(20, 2), torch.rand(20, 1, 4, 4), labels).shape[0] == 3


@pytest.mark.parametrize(
    ("codes", "labels", "message"),
    [
        (torch.rand(8, 3), None, "two numbers for each of 8 images"),
        (torch.rand(7, 2), None, "two numbers for each of 8 images"),
        (torch.rand(8, 2), torch.zeros(8, 2), "as many class indices"),
        (torch.full((8, 2), torch.nan), None, "not finite"),
    ],
)
def test_codes_that_do_not_suit_are_refused(codes, labels, message):
    with pytest.raises(LabError, match=message):
        pictures.beside_pca(codes, torch.rand(8, 1, 4, 4), labels)


def test_only_codes_of_two_dimensions_stand_beside_pca():
    with pytest.raises(LabError, match="2-dimensional code"):
        DRAWINGS["beside_pca"].check(Autoencoder(SHAPE, 3), "The picture 'beside_pca'")


def test_what_is_restored_is_measured_against_the_undamaged():
    class Restorer:
        """Gives back what it sees, doubled."""

        latent_dim = 20
        corruption = Masking(0.5)

        def corrupt(self, x):
            return self.corruption(x)

        def encode(self, x, y=None):
            return x.flatten(1)

        def decode(self, z, y=None):
            return 2 * z.view(-1, *SHAPE)

    batch = Batch(torch.ones(400, *SHAPE), torch.zeros(400))
    before = torch.get_rng_state()
    found = restorations(Restorer(), batch, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    # A pixel is 1 too dark or 1 too bright when doubled; undoubled, half of them are.
    assert found["restored_squared_error"].value == pytest.approx(20)
    damaged = found["corrupted_squared_error"]
    assert damaged.value == pytest.approx(10, abs=5 * damaged.standard_error)
    assert damaged == restorations(Restorer(), batch, seed=3)["corrupted_squared_error"]
    assert damaged != restorations(Restorer(), batch, seed=4)["corrupted_squared_error"]
    assert all("Masking 0.5" in m.note for m in found.values())


def test_a_corruption_that_is_a_module_is_measured_and_drawn_too():
    model = Autoencoder(SHAPE, 3).eval()
    model.corruption = nn.Dropout(0.5)
    DRAWINGS["restorations"].check(model, "The picture 'restorations'")
    assert "Dropout" in restorations(model, images(), 0)["restored_squared_error"].note


class Coder(nn.Module):
    """Gives codes that were decided on, by a sigmoid or not."""

    def __init__(self, code, activation, penalty=None):
        super().__init__()
        self.code, self.activation, self.penalty = code, activation, penalty
        self.latent_dim = code.shape[1]

    def encode(self, x, y=None):
        return self.code[: len(x)]

    def terms(self, batch):
        return {"loss": batch.x} | ({} if self.penalty is None else {"penalty": batch.x})


def test_units_of_a_sigmoid_are_busy_dead_or_saturated():
    code = torch.tensor([[0.01, 0.5, 0.99, 0.04], [0.02, 0.5, 0.94, 0.96]])
    found = activations(Coder(code, nn.Sigmoid(), KLSparsity(0.2)), images(2))
    assert found["mean_activation"].value == pytest.approx(code.mean().item())
    assert "target in training is 0.2" in found["mean_activation"].note
    assert found["dead_units"].value == 0.25
    assert found["saturated"].value == pytest.approx(5 / 8)
    assert found["saturated"].standard_error == pytest.approx(0.125)


def test_units_of_a_sparse_code_are_dead_where_they_are_always_zero():
    code = torch.tensor([[0.0, -0.5, 3.0], [0.0, 0.0, 0.01]])
    found = activations(Coder(code, nn.ReLU(), L1Sparsity()), images(2))
    assert found.keys() == {"mean_activation", "dead_units"}
    assert found["mean_activation"].value == pytest.approx(3.51 / 6)
    assert found["dead_units"].value == pytest.approx(1 / 3)
    assert activations(Coder(code, nn.ReLU()), images(2)) == {}


SPARSE = {"mean_activation", "dead_units"}
DENOISED = {"restored_squared_error", "corrupted_squared_error"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, set()),
        ({"top_k": 1}, SPARSE),
        ({"penalty": Contraction}, SPARSE),
        ({"activation": "Sigmoid"}, SPARSE | {"saturated"}),
        ({"corruption": Masking}, DENOISED),
    ],
)
def test_a_kind_of_autoencoder_is_measured_by_what_it_is_for(options, expected):
    batch = images(40)
    model = Autoencoder(SHAPE, 3, LINEAR, **options).eval()
    found = measure(model, batch, lambda: batch, 0, 0)
    assert found.keys() & (SPARSE | DENOISED | {"saturated"}) == expected
