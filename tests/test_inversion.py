"""Codes found by gradients: they are those that images were made of, and the model stays as is."""

from functools import partial

import numpy as np
import pytest
import torch
from conftest import FIT
from PIL import Image

from vae_lab import pictures
from vae_lab.contracts import Batch
from vae_lab.data import Digits
from vae_lab.errors import LabError
from vae_lab.metrics.inversion import Search, check_invertible, decoded, draw_codes, errors, invert
from vae_lab.models import CVAE, GAN, PCA, VAE, Autoencoder, InfoGAN, KMeans
from vae_lab.nets import ConvGenerator, MLPCritic, MLPDecoder, MLPEncoder, MLPGenerator
from vae_lab.posteriors import GumbelSoftmax
from vae_lab.priors import Uniform
from vae_lab.verbs.invert import invert as invert_runs

SHAPE = (1, 8, 8)
NETS = {
    VAE: {"encoder": partial(MLPEncoder, hidden=(16,)), "decoder": partial(MLPDecoder, hidden=())},
    GAN: {"generator": partial(ConvGenerator, channels=(16,)), "critic": MLPCritic, "average": 0.0},
}
NETS[CVAE] = NETS[Autoencoder] = NETS[VAE]
CHOICE = partial(GumbelSoftmax, classes=2)
GAN_FIT = [word for word in FIT if not word.startswith("--model")]
GAN_FIT += ["--model=GAN", "--model.latent_dim=3", "--name=gan", "--trainer.max_epochs=1"]
FAST = Search(steps=200, restarts=3, penalty=0.0)


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


def build(kind, **settings):
    torch.manual_seed(0)
    model = kind(SHAPE, **{"latent_dim": 4, **NETS.get(kind, {}), **settings})
    for name, weight in model.named_parameters():
        # What a new decoder makes of two codes may hardly differ: there is little to find.
        if weight.ndim > 1 and name.split(".")[0] in ("decoder", "generator"):
            torch.nn.init.kaiming_normal_(weight)
            weight.data.mul_(2)
    return model


def own(model, n=6):
    """Return images that a model makes, and the codes that it makes them of."""
    y = torch.arange(n) % 10
    codes = draw_codes(model, Batch(torch.rand(n, *SHAPE), y), 1)
    return codes, Batch(decoded(model.eval(), codes, y), y)


@pytest.mark.parametrize("kind", [VAE, CVAE, GAN])
def test_codes_of_a_models_own_images_are_recovered(kind):
    model = build(kind)
    codes, images = own(model)
    found = invert(model, images, FAST, 0)
    assert errors(model, found, images).median() < 0.01
    assert (found - codes).abs().median() < 0.1
    start = draw_codes(model, images, 0)
    assert errors(model, start, images).median() > 1


def test_conditions_are_those_of_the_images():
    model = build(CVAE)
    codes, images = own(model)
    elsewhere = images._replace(y=(images.y + 1) % 10)
    assert torch.equal(errors(model, codes, images), torch.zeros(6))

    def error(about):
        return errors(model, invert(model, about, FAST, 0), about).median()

    assert error(images) < 0.01 < error(elsewhere)


def test_the_model_is_as_before_and_so_is_the_callers_stream():
    model = build(GAN, generator=partial(MLPGenerator, hidden=(8, 8))).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    _, images = own(model.eval())
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    model.train()
    with torch.inference_mode():
        invert(model, images, FAST._replace(steps=2), 0)
    assert torch.equal(torch.rand(1), expected)
    assert model.training
    assert all(w.grad is None for w in model.parameters())
    assert any(w.requires_grad for w in model.generator.parameters())
    assert all(torch.equal(before[k], value) for k, value in model.state_dict().items())


def test_a_penalty_draws_codes_towards_the_prior():
    model = build(VAE)
    images = Batch(torch.rand(4, *SHAPE), torch.zeros(4))
    sizes = [
        invert(model, images, FAST._replace(penalty=penalty), 0).square().sum(1).mean()
        for penalty in (0.0, 1.0, 1e6)
    ]
    assert sizes[0] > sizes[1] > sizes[2]
    assert sizes[2] < 0.01


def test_more_restarts_find_no_worse_codes():
    model = build(GAN)
    _, images = own(model)
    few, many = (
        errors(model, invert(model, images, Search(20, restarts, 0.0), 0), images)
        for restarts in (1, 12)
    )
    assert many.mean() < few.mean()


def test_a_model_without_a_prior_starts_where_its_codes_are():
    images = Batch(torch.rand(5, *SHAPE), torch.zeros(5))
    model = build(Autoencoder)
    found = invert(model, images, FAST, 0)
    encoded = errors(model, model.encode(images.x).detach(), images)
    assert (errors(model, found, images) < encoded).all()


def test_the_spread_of_codes_is_that_of_all_images_whatever_the_parts():
    images = Batch(torch.rand(501, *SHAPE), torch.zeros(501))
    model = build(Autoencoder)
    encoded = model.encode(images.x).detach()
    # The last image is a part by itself.
    start = torch.stack([draw_codes(model, images, seed)[-1] for seed in range(50)])
    torch.testing.assert_close(start.mean(0), encoded.mean(0), atol=encoded.std().item(), rtol=0)
    assert (start.std(0) > 0.5 * encoded.std(0)).all()


def test_a_penalty_draws_codes_of_a_model_without_a_prior_to_where_its_codes_are():
    images = Batch(torch.rand(4, *SHAPE), torch.zeros(4))
    model = build(Autoencoder)
    model.encode = lambda x, y=None: 5 + x.flatten(1)[:, :4]
    found = invert(model, images, FAST._replace(penalty=1e6), 0)
    expected = model.encode(images.x).mean(0).expand(4, -1)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.1)


def test_the_best_code_of_a_linear_decoder_is_the_projection():
    model = build(PCA, latent_dim=3)
    x = torch.rand(40, *SHAPE)
    model.learn(x.flatten(1))
    images = Batch(x[:4], torch.zeros(4))
    found = invert(model, images, FAST, 0)
    torch.testing.assert_close(found, model.encode(x[:4]), rtol=1e-2, atol=1e-2)


def test_a_choice_stays_one():
    torch.manual_seed(0)
    model = InfoGAN(SHAPE, noise=3, generator=MLPGenerator, critic=MLPCritic, features=8)
    _, images = own(model)
    found = invert(model, images, FAST._replace(steps=5), 0)
    choice = found[:, model.places["c1"]]
    assert torch.equal(choice.sort(1).values, torch.eye(10)[-1].expand(6, -1))


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (lambda: KMeans(SHAPE, 3), "KMeans are discrete"),
        (lambda: build(VAE, posterior=CHOICE, prior=partial(Uniform, classes=2)), "discrete"),
    ],
)
def test_codes_that_do_not_move_little_by_little_are_refused(model, why):
    with pytest.raises(LabError, match=why):
        check_invertible(model(), "this")


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"restarts": 0}, {"penalty": -1.0}, {"lr": 0.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(LabError):
        invert(build(VAE), own(build(VAE))[1], Search(**wrong), 0)


# the verb


def test_images_of_a_run_are_inverted_beside_its_encoder(lab, run):
    out = lab("invert", run, "--data", 3, "--steps", 5, "--restarts", 2)
    assert "own samples" in out
    assert "3 val images" in out
    found = np.load("inverse.npz")
    assert found["codes"].shape == found["encoder_codes"].shape == (3, 3)
    assert found["squared_error"].shape == (3,)
    assert Image.open("invert.png").width > 100


def test_runs_have_a_row_each_and_the_encoders_error_where_there_is_one(lab, run):
    """Numbers of the table are those of the codes that were written down."""
    lab(*GAN_FIT)
    out = lab("invert", run, "runs/gan", "--data=4", "--steps=5", "--restarts=1")
    found = np.load("inverse.npz")
    ours, gans = "VAE/version_0", "gan/version_0"
    assert found[f"{ours}/codes"].shape == found[f"{gans}/codes"].shape == (4, 3)
    assert f"{gans}/encoder_codes" not in found
    # Of a run's three lines the first, of medians, begins with its experiment.
    first = {words[0]: words for line in out.splitlines() if len(words := line.split()) in (4, 5)}
    medians = [f"{np.median(found[f'{ours}/{key}squared_error']):.3f}" for key in ("", "encoder_")]
    assert first["VAE"][3:] == medians
    assert first["gan"][3:] == [f"{np.median(found[f'{gans}/squared_error']):.3f}"]

    height = Image.open("invert.png").height
    lab("invert", "runs/gan", "--data=4", "--steps=1", "--restarts=1")
    assert Image.open("invert.png").height < height / 2


def test_of_several_runs_the_one_is_named_that_cannot_be_inverted(lab, run, capfd):
    small = ("--data=Digits", "--data.val_size=100", "--trainer.max_epochs=1")
    lab("fit", "--model=KMeans", *small, "--name=means")
    with pytest.raises(SystemExit):
        lab("invert", run, "runs/means", "--data=2")
    assert "lab invert: runs/means: " in capfd.readouterr().err


def test_runs_of_other_images_are_not_set_side_by_side(lab, run, capfd):
    lab(*GAN_FIT, "--data.split_seed=3")
    for words, why in (
        ([run, "runs/gan"], "different images: split_seed is 0 and 3"),
        ([run, run], "given twice"),
    ):
        with pytest.raises(SystemExit):
            lab("invert", *words, "--data=2")
        assert why in capfd.readouterr().err


def test_several_runs_are_given_grey_images(run, monkeypatch):
    targets = []
    monkeypatch.setattr("vae_lab.verbs.invert.load_data", lambda run: Digits(binarize="static"))
    monkeypatch.setattr(
        pictures, "inversions", lambda x, made: targets.append(x) or torch.zeros(3, 9, 9)
    )
    both = [str(run / f"checkpoints/{name}.ckpt") for name in ("best", "last")]
    invert_runs(both, data=2, steps=1, restarts=1)
    for x in targets:
        assert torch.equal(x, Digits().images("val", 2).x)
    assert len(targets) == 2


def test_files_are_inverted(lab, run):
    for name in ("a", "b"):
        Image.new("RGB", (20, 30), "red").save(f"{name}.png")
    out = lab("invert", run, "--images", "a.png", "b.png", "--steps", 2, "--restarts", 1)
    assert "files" in out
    assert len(np.load("inverse.npz")["codes"]) == 2


@pytest.mark.parametrize("how", [{"pad": 2}, {"resize": (16, 12)}, {"binarize": "threshold"}])
def test_files_are_prepared_as_the_images_trained_on(tmp_path, how):
    [own] = Digits(**how).images("test", 1).x
    pixels = Digits().images("test", 1).x[0, 0].mul(255).round().byte().numpy()
    Image.fromarray(pixels).save(tmp_path / "digit.png")
    assert torch.equal(Digits(**how).from_files([tmp_path / "digit.png"])[0], own)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--images", "missing.png"], "There is no file missing.png."),
        (["--data", "0"], "--data is at least 1"),
        (["--data", "1", "--images", "a.png"], "not both"),
        (["--y", "3", "--data", "1"], "can be given a condition"),
        (["--penalty", "-1", "--data", "1"], "penalty is finite and not negative"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(run, words, why, capfd, monkeypatch):
    from vae_lab.cli import main

    with pytest.raises(SystemExit):
        main(["invert", str(run), *words])
    assert why in capfd.readouterr().err


def test_walks_between_images_need_no_encoder():
    from vae_lab.drawings import DRAWINGS

    drawing = DRAWINGS["inverted_walks"]
    with pytest.raises(LabError, match="encodes"):
        drawing.check(build(VAE), "this")
    gan = build(GAN).eval()
    drawing.check(gan, "this")
    batch = Batch(torch.rand(4, *SHAPE), torch.zeros(4))
    with torch.inference_mode():
        assert drawing.draw(gan, batch, pairs=2, steps=3).shape[0] == 3


def test_walks_without_an_encoder_end_at_the_images(monkeypatch):
    from vae_lab.drawings import DRAWINGS, codes

    gan = build(GAN)
    _, images = own(gan, 4)
    ends = []
    monkeypatch.setattr(codes.pictures, "interpolation", lambda *found: ends.extend(found[1:3]))
    with torch.inference_mode():
        DRAWINGS["inverted_walks"].draw(gan, images, pairs=2, steps=3)
    found = errors(gan, torch.cat(ends), images)
    assert found.median() < 0.1 * errors(gan, draw_codes(gan, images, 5), images).median()


def test_a_gans_images_are_interpolated_by_inversion(lab):
    lab(*GAN_FIT)
    assert lab("interpolate", "runs/gan", "--pairs=1", "--steps=3") == "interpolate.png\n"
    image = Image.open("interpolate.png")
    assert image.width > 2 * image.height
